// A network of datagrams in memory, with a thread of its own; it may lose, repeat and reorder.
#pragma once

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "config/unique_fd.hpp"
#include "replication/datagram_port.hpp"

namespace understudy::replication {

class MemoryNetwork {
 public:
  explicit MemoryNetwork(std::size_t datagram_bytes = 61'300, std::size_t room = 48)
      : datagram_bytes_{datagram_bytes}, room_{room}, thread_{[this] { run(); }} {}
  ~MemoryNetwork() {
    {
      const std::lock_guard lock{mutex_};
      stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  MemoryNetwork(const MemoryNetwork&) = delete;
  MemoryNetwork& operator=(const MemoryNetwork&) = delete;

  /// Outlived by the network.
  [[nodiscard]] std::unique_ptr<DatagramPort> port(std::uint8_t address) {
    return std::make_unique<Port>(*this, HostAddress{2, 0, 0, 0, 0, address});
  }

  std::atomic<unsigned> lost{};  ///< of a thousand
  std::atomic<unsigned> repeated{};
  std::atomic<unsigned> late{};
  std::atomic<bool> cut{};
  std::atomic<bool> lends{true};  ///< its ports, to who wants to read

 private:
  class Buffer final : public DatagramBuffer {
   public:
    explicit Buffer(std::vector<std::byte> bytes) : bytes_{std::move(bytes)} {}
    std::span<std::byte> bytes() override { return bytes_; }

   private:
    std::vector<std::byte> bytes_;
  };

  struct UnderWay {
    HostAddress from;
    HostAddress to;
    std::vector<std::byte> bytes;
  };

  class Port final : public DatagramPort {
   public:
    Port(MemoryNetwork& network, const HostAddress& address)
        : network_{network}, address_{address} {}
    ~Port() override { stop(); }
    HostAddress address() const override { return address_; }
    std::size_t datagram_bytes() const override { return network_.datagram_bytes_; }
    std::size_t receive_room() const override { return network_.room_; }
    DatagramPointer allocate() override {
      return std::make_unique<Buffer>(std::vector<std::byte>(datagram_bytes()));
    }
    void send(const HostAddress& to, DatagramPointer datagram, std::size_t bytes) override {
      const auto sent = datagram->bytes().first(bytes);
      network_.send(address_, to, {sent.begin(), sent.end()});
    }
    void start(DatagramEvents& events) override {
      {
        const std::lock_guard lock{reading_};
        events_ = &events;
      }
      const std::lock_guard lock{network_.mutex_};
      network_.listening_[address_] = this;
    }
    void stop() override {
      const std::lock_guard delivered{network_.delivering_};
      {
        const std::lock_guard lock{network_.mutex_};
        network_.listening_.erase(address_);
      }
      const std::lock_guard lock{reading_};
      events_ = nullptr;
    }
    DatagramCounters counters() const override { return {}; }

    bool lend(int epoll) override {
      const std::lock_guard lock{reading_};
      if (!network_.lends || lent_to_ >= 0 || events_ == nullptr) return false;
      epoll_event event{};
      event.events = EPOLLIN;
      if (::epoll_ctl(epoll, EPOLL_CTL_ADD, bell_.get(), &event) != 0) return false;
      lent_to_ = epoll;
      return true;
    }
    bool read_lent(int epoll) override {
      const std::lock_guard lock{reading_};
      if (lent_to_ != epoll) return false;
      eventfd_t ignored{};
      ::eventfd_read(bell_.get(), &ignored);
      deliver_arrived();
      return true;
    }
    void give_back(int epoll) override {
      {
        const std::lock_guard lock{reading_};
        if (lent_to_ != epoll) return;
        ::epoll_ctl(epoll, EPOLL_CTL_DEL, bell_.get(), nullptr);
        lent_to_ = -1;
      }
      const std::lock_guard lock{network_.mutex_};
      network_.given_back_ = true;
      network_.changed_.notify_all();
    }

    /// On the network's thread.
    void arrive(const UnderWay& datagram) {
      const std::lock_guard lock{reading_};
      arrived_.push_back(datagram);
      if (lent_to_ < 0) return deliver_arrived();
      ::eventfd_write(bell_.get(), 1);
    }
    void look() {
      const std::lock_guard lock{reading_};
      if (lent_to_ < 0) deliver_arrived();
    }

   private:
    void deliver_arrived() {
      for (auto& datagram : std::exchange(arrived_, {})) {
        if (events_ == nullptr) return;
        events_->on_datagram(datagram.from, std::make_unique<Buffer>(std::move(datagram.bytes)));
      }
    }

    MemoryNetwork& network_;
    HostAddress address_;
    UniqueFd bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    std::mutex reading_;
    DatagramEvents* events_{};
    int lent_to_{-1};
    std::deque<UnderWay> arrived_;
  };

  bool chance(unsigned thousandths) { return random_() % 1000 < thousandths; }

  void send(const HostAddress& from, const HostAddress& to, std::vector<std::byte> bytes) {
    const std::lock_guard lock{mutex_};
    if (cut || chance(lost)) return;
    const UnderWay datagram{from, to, std::move(bytes)};
    if (chance(repeated)) under_way_.push_back(datagram);
    if (chance(late) && !under_way_.empty()) {
      under_way_.insert(under_way_.end() - 1, datagram);
    } else {
      under_way_.push_back(datagram);
    }
    changed_.notify_all();
  }

  void run() {
    std::unique_lock lock{mutex_};
    while (true) {
      changed_.wait(lock, [this] { return stopped_ || given_back_ || !under_way_.empty(); });
      if (stopped_) return;
      const auto burst = std::exchange(under_way_, {});
      given_back_ = false;
      lock.unlock();
      deliver(burst);
      lock.lock();
    }
  }

  void deliver(const std::deque<UnderWay>& burst) {
    const std::lock_guard delivering{delivering_};
    std::map<HostAddress, Port*> to;
    {
      const std::lock_guard lock{mutex_};
      to = listening_;
    }
    for (const auto& datagram : burst) {
      for (const auto& [address, port] : to) {
        if (datagram.to == address || datagram.to == every_host) port->arrive(datagram);
      }
    }
    for (const auto& [address, port] : to) port->look();
  }

  const std::size_t datagram_bytes_;
  const std::size_t room_;
  std::mutex delivering_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937 random_{1};
  std::deque<UnderWay> under_way_;
  std::map<HostAddress, Port*> listening_;
  bool given_back_{};
  bool stopped_{};
  std::thread thread_;
};

}  // namespace understudy::replication
