// Two hosts' ports and the network between them, on a simulated clock: it loses, repeats, reorders
// and damages by seed. One thread.
#pragma once

#include <functional>
#include <optional>
#include <queue>
#include <random>
#include <vector>

#include "replication/datagram_port.hpp"

namespace understudy::sim {

enum class Side : std::uint8_t { primary, backup };
[[nodiscard]] constexpr Side other(Side side) {
  return side == Side::primary ? Side::backup : Side::primary;
}

/// Chances in thousandths.
struct Faults {
  std::uint64_t lost{};
  std::uint64_t repeated{};
  std::uint64_t late{};
  std::uint64_t damaged{};
  std::uint64_t no_buffer{};
};

class SimNetwork {
 public:
  SimNetwork(std::mt19937_64& random, std::size_t datagram_bytes, std::size_t room);

  [[nodiscard]] replication::DatagramPort& port(Side side);
  [[nodiscard]] TimePoint at() const { return at_; }

  void set_faults(const Faults& faults) { faults_ = faults; }
  /// Nothing that this side sends arrives until then.
  void silence(Side side, TimePoint until) { silent_until_[index(side)] = until; }

  [[nodiscard]] std::optional<TimePoint> next_arrival() const;
  /// Moves the clock, not past an arrival.
  void advance(TimePoint at);
  using Deliver = std::function<void(Side to, replication::DatagramPointer)>;
  /// Delivers what has arrived by now.
  void deliver(const Deliver& deliver);

  [[nodiscard]] std::uint64_t packets() const { return packets_; }

 private:
  using Bytes = std::vector<std::byte>;
  class Buffer;
  class Port;
  struct Arrival {
    TimePoint at;
    std::uint64_t order;
    Side to;
    std::size_t bytes_index;
    std::size_t size;
    friend bool operator>(const Arrival& a, const Arrival& b) {
      return std::tie(a.at, a.order) > std::tie(b.at, b.order);
    }
  };

  static std::size_t index(Side side) { return static_cast<std::size_t>(side); }
  [[nodiscard]] bool chance(std::uint64_t thousandths) {
    return thousandths > 0 && random_() % 1000 < thousandths;
  }
  [[nodiscard]] std::size_t acquire();
  void release(std::size_t buffer) { free_.push_back(buffer); }
  void send(Side from, std::size_t buffer, std::size_t size);
  void carry(Side to, std::size_t buffer, std::size_t size);

  std::mt19937_64& random_;
  std::size_t datagram_bytes_;
  std::size_t room_;
  Faults faults_;
  TimePoint at_{seconds{1000}};
  std::array<TimePoint, 2> silent_until_{};
  std::array<std::unique_ptr<Port>, 2> ports_;
  std::vector<Bytes> memory_;
  std::vector<std::size_t> free_;
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> under_way_;
  std::uint64_t packets_{};

 public:
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;
};

}  // namespace understudy::sim
