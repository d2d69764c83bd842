// The network as a test sees it: an uplink in memory, and waiting for what its thread does.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "config/clock.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/uplink.hpp"

namespace understudy::netbuffer {

using Frames = std::vector<std::string>;
inline constexpr auto patience = seconds{60};

inline std::string text(std::span<const std::byte> bytes) {
  std::string result(bytes.size(), '\0');
  std::transform(bytes.begin(), bytes.end(), result.begin(),
                 [](std::byte b) { return static_cast<char>(b); });
  return result;
}

inline std::pair<UniqueFd, UniqueFd> seqpacket_pair() {
  std::array<int, 2> fds{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) == 0);
  return {UniqueFd{fds[0]}, UniqueFd{fds[1]}};
}

/// What has reached the network; any thread.
class Wire {
 public:
  void add(std::string frame) {
    const std::lock_guard lock{mutex_};
    frames_.push_back(std::move(frame));
    changed_.notify_all();
  }
  Frames take() {
    const std::lock_guard lock{mutex_};
    return std::exchange(frames_, {});
  }
  /// Waits for that many, and takes all.
  Frames take_when(std::size_t count) {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, patience, [&] { return frames_.size() >= count; });
    return std::exchange(frames_, {});
  }

  std::atomic<bool> full{};  ///< takes nothing now

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Frames frames_;
};

class FakeUplink : public Uplink {
 public:
  FakeUplink(Wire& wire, UniqueFd arriving) : wire_{wire}, arriving_{std::move(arriving)} {}
  Result<> send(std::span<const std::byte> frame) override {
    if (frame.size() < 2) return fail(ErrorKind::io, "a runt");
    if (wire_.full) return fail(ErrorKind::limit, "no room");
    wire_.add(text(frame));
    return {};
  }
  [[nodiscard]] int fd() const override { return arriving_.get(); }
  Result<std::optional<std::size_t>> receive(std::span<std::byte> space) override {
    const auto got = ::recv(arriving_.get(), space.data(), space.size(), MSG_DONTWAIT);
    if (got > 0) return static_cast<std::size_t>(got);
    if (got == 0) return fail(ErrorKind::closed, "the network is gone");
    return std::nullopt;
  }

 private:
  Wire& wire_;
  UniqueFd arriving_;
};

/// A promise that may be kept several times.
template <class T>
class Mailbox {
 public:
  void put(T value) {
    const std::lock_guard lock{mutex_};
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  std::vector<T> wait(std::size_t count) {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, patience, [&] { return values_.size() >= count; });
    return values_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<T> values_;
};

}  // namespace understudy::netbuffer
