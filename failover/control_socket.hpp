// A unix stream socket at a path: what server and client of the control API have in common.
#pragma once

#include <string>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::failover {

/// Connects without waiting. `unavailable`: nobody is there (or we may not), `invalid`: no such
/// path can be a socket.
[[nodiscard]] Result<UniqueFd> connect_control(const std::string& path);

/// A listening, non-blocking socket, mode 0600. See ControlServer::listen.
[[nodiscard]] Result<UniqueFd> listen_control(const std::string& path);

}  // namespace understudy::failover
