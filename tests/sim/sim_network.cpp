#include "sim_network.hpp"

#include <algorithm>
#include <utility>

#include "config/assert.hpp"

namespace understudy::sim {

using namespace replication;

class SimNetwork::Buffer final : public DatagramBuffer {
 public:
  Buffer(SimNetwork& network, std::size_t index, std::size_t size)
      : network_{network}, index_{index}, size_{size} {}
  ~Buffer() override {
    if (index_ != taken) network_.release(index_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::span<std::byte> bytes() override { return std::span{network_.memory_[index_]}.first(size_); }
  std::size_t take() { return std::exchange(index_, taken); }

 private:
  static constexpr std::size_t taken = ~std::size_t{};
  SimNetwork& network_;
  std::size_t index_;
  std::size_t size_;
};

class SimNetwork::Port final : public DatagramPort {
 public:
  Port(SimNetwork& network, Side side) : network_{network}, side_{side} {}
  HostAddress address() const override { return {2, 0, 0, 0, 0, static_cast<std::uint8_t>(side_)}; }
  std::size_t datagram_bytes() const override { return network_.datagram_bytes_; }
  std::size_t receive_room() const override { return network_.room_; }
  DatagramPointer allocate() override {
    if (network_.chance(network_.faults_.no_buffer)) return nullptr;
    return std::make_unique<Buffer>(network_, network_.acquire(), network_.datagram_bytes_);
  }
  void send(const HostAddress& /*to*/, DatagramPointer datagram, std::size_t bytes) override {
    auto* buffer = dynamic_cast<Buffer*>(datagram.get());
    UNDERSTUDY_ASSERT(buffer != nullptr && bytes <= network_.datagram_bytes_, "one of ours");
    network_.send(side_, buffer->take(), bytes);
  }
  void start(DatagramEvents& /*events*/) override {}
  void stop() override {}
  DatagramCounters counters() const override { return {}; }

 private:
  SimNetwork& network_;
  Side side_;
};

SimNetwork::SimNetwork(std::mt19937_64& random, std::size_t datagram_bytes, std::size_t room)
    : random_{random},
      datagram_bytes_{datagram_bytes},
      room_{room},
      ports_{std::make_unique<Port>(*this, Side::primary),
             std::make_unique<Port>(*this, Side::backup)} {}

SimNetwork::~SimNetwork() = default;

DatagramPort& SimNetwork::port(Side side) {
  return *ports_[index(side)];
}

std::size_t SimNetwork::acquire() {
  if (free_.empty()) {
    memory_.emplace_back(datagram_bytes_);
    return memory_.size() - 1;
  }
  const auto buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void SimNetwork::send(Side from, std::size_t buffer, std::size_t size) {
  ++packets_;
  if (at_ < silent_until_[index(from)] || chance(faults_.lost)) return release(buffer);
  if (chance(faults_.repeated)) {
    const auto copy = acquire();
    std::copy_n(memory_[buffer].begin(), size, memory_[copy].begin());
    carry(other(from), copy, size);
  }
  carry(other(from), buffer, size);
}

void SimNetwork::carry(Side to, std::size_t buffer, std::size_t size) {
  if (chance(faults_.damaged)) {
    if (random_() % 4 == 0) size = random_() % size + 1;
    memory_[buffer][random_() % size] ^= static_cast<std::byte>(1U << (random_() % 8));
  }
  auto way = microseconds{100};
  if (chance(faults_.late)) way += microseconds{random_() % (random_() % 4 == 0 ? 50'000 : 500)};
  under_way_.push({at_ + way, packets_, to, buffer, size});
}

std::optional<TimePoint> SimNetwork::next_arrival() const {
  if (under_way_.empty()) return std::nullopt;
  return under_way_.top().at;
}

void SimNetwork::advance(TimePoint at) {
  at_ = std::max(at_, at);
}

void SimNetwork::deliver(const Deliver& deliver) {
  while (!under_way_.empty() && under_way_.top().at <= at_) {
    const auto arrival = under_way_.top();
    under_way_.pop();
    deliver(arrival.to, std::make_unique<Buffer>(*this, arrival.bytes_index, arrival.size));
  }
}

}  // namespace understudy::sim
