#include "failover/link_tests.hpp"

#include <chrono>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <boost/asio/post.hpp>

#include "config/names.hpp"
#include "replication/link_test.hpp"

namespace understudy::failover {
namespace {

void describe(control::LinkMeasure& link, const Result<replication::LinkMeasure>& measured) {
  if (!measured) return link.set_failed(measured.error().message);
  const auto in_us = [](Duration time) {
    return std::chrono::duration<double, std::micro>{time}.count();
  };
  link.set_bytes_per_second(measured->bytes_per_second);
  link.set_round_trip_p50_us(in_us(measured->round_trip_p50));
  link.set_round_trip_p99_us(in_us(measured->round_trip_p99));
  link.set_sent_frames(measured->counters.sent_frames);
  link.set_resent_packets(measured->counters.resent_packets);
}

}  // namespace

void LinkTests::begin(const std::shared_ptr<ControlCall>& call) {
  const auto& name = call->request().link_test().host();
  const auto* host = settings_.find_host(name);
  const auto endpoint = parse_endpoint(host == nullptr ? "" : host->replication_address());
  if (!endpoint || host == &settings_.this_host()) {
    return call->fail({ErrorKind::invalid,
                       fmt::format("\"{}\" is no other host with a replication_address in the "
                                   "configuration of host {}",
                                   name, settings_.this_host().name())});
  }
  if (busy_) return call->fail({ErrorKind::conflict, "another link test is running"});
  if (thread_.joinable()) thread_.join();
  busy_ = true;
  thread_ = std::thread{[this, call, name, at = *endpoint]() mutable {
    control::Reply reply;
    auto& test = *reply.mutable_link_test();
    test.set_host(name);
    for (const auto& transport : transports_) {
      auto& link = *test.add_link();
      link.set_link(std::string{transport->name()});
      link.set_configured(transport == transports_.front());
      describe(link, replication::measure_link({settings_.config().cluster(),
                                                settings_.this_host().name(), name, at, transport},
                                               [this] { return stopping_.load(); }));
    }
    boost::asio::post(io_, [this, call = std::move(call), reply = std::move(reply)]() mutable {
      busy_ = false;
      call->finish(std::move(reply));
    });
  }};
}

void LinkTests::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

}  // namespace understudy::failover
