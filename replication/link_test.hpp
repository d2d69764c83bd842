// How good is the path to another host? Echoes for the round trip, then as many frames as the link
// takes, for its throughput. Over a real link of any transport; the other host's server answers
// beside its sessions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "replication/connection.hpp"

namespace understudy::replication {

struct LinkMeasure {
  double bytes_per_second;  ///< payload that has arrived
  Duration round_trip_p50;
  Duration round_trip_p99;
  LinkCounters counters;
};

struct LinkTestPlan {
  std::string cluster;
  std::string from_host;
  std::string to_host;
  Endpoint peer;
  std::shared_ptr<Transport> transport;
};

/// Blocks for about limits::link_test_bulk and never longer than limits::link_test_longest.
/// `cancelled` is asked often. Errors name the peer, and the remedy where there is one.
[[nodiscard]] Result<LinkMeasure> measure_link(const LinkTestPlan& plan,
                                               const std::function<bool()>& cancelled);

/// The other end: answers until the peer leaves, at most for limits::link_test_longest. On `io`'s
/// thread; `gone` is its last word.
void answer_link_test(asio::io_context& io, std::unique_ptr<Connection> connection,
                      SessionId session, std::function<void()> gone);

}  // namespace understudy::replication
