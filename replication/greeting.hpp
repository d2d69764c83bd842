// The first word between two hosts: who offers what to whom, and why not. Pure.
#pragma once

#include <string>
#include <vector>

#include "replication/checkpoint_sender.hpp"
#include "replication/messages.pb.h"
#include "replication/replication_server.hpp"

namespace understudy::replication {

[[nodiscard]] Hello make_hello(const SenderParties& parties, const Offer* offer);

/// Why this host will not hear more, one sentence each; empty: go on.
[[nodiscard]] std::vector<std::string> objections(const Hello& hello, const std::string& cluster,
                                                  const std::string& this_host);

/// An error's message, one sentence per line, as a refusal.
[[nodiscard]] HelloReply refusal(const std::string& sentences);

/// The most that each RAM block may use, in the offer's order.
[[nodiscard]] std::vector<std::uint64_t> block_bytes(const Offer& offer);

}  // namespace understudy::replication
