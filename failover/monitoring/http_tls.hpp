// https: the daemon's certificate.
#pragma once

#include <memory>

#include <boost/asio/ssl/context.hpp>

#include "config/config.pb.h"
#include "config/result.hpp"

namespace understudy::failover {

/// TLS 1.2 and later. Errors name the file and what is wrong with it.
[[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> load_tls(
    const config::HttpTls& files);

}  // namespace understudy::failover
