// What a DatagramLink is, on the simulated clock.
#pragma once

#include <deque>
#include <memory>

#include "replication/connection.hpp"
#include "replication/datagram_machine.hpp"
#include "replication/link.hpp"
#include "sim_network.hpp"

namespace understudy::sim {

/// Alive as long as somebody holds it; calls nothing after `close`.
class SimLink final : public replication::Link {
 public:
  SimLink(SimNetwork& network, std::unique_ptr<replication::DatagramMachine> machine,
          replication::LinkEvents& events)
      : network_{network}, machine_{std::move(machine)}, events_{&events} {}

  bool send(std::span<const std::byte> frame) override;
  bool send_copy(std::span<const std::byte> frame) override;
  void finish() override;
  void close() override;
  std::unique_ptr<replication::Connection> release() override;
  replication::LinkCounters counters() override { return {}; }
  /// Without a word, as when a process is killed.
  void vanish() { closed_ = true; }

  void on_datagram(replication::DatagramPointer datagram);
  void flush();
  [[nodiscard]] std::optional<TimePoint> wake_at() const;
  [[nodiscard]] bool closed() const { return closed_; }
  void hand_over(replication::LinkEvents& events) { events_ = &events; }

 private:
  void handle(Result<std::optional<replication::DatagramMachine::Frame>> frame);

  SimNetwork& network_;
  std::unique_ptr<replication::DatagramMachine> machine_;
  replication::LinkEvents* events_;
  bool closed_{};
  bool refused_{};
};

}  // namespace understudy::sim
