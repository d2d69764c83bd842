// A replica that notes what it is given, and the messages that tests send.
#pragma once

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "replication/checkpoint_sender.hpp"
#include "replication/replication_server.hpp"

namespace understudy::replication {

inline std::string text_of(std::span<const std::byte> bytes) {
  std::string text(bytes.size(), '\0');
  if (!bytes.empty()) std::memcpy(text.data(), bytes.data(), bytes.size());
  return text;
}

inline void fill(FrameBuffer& buffer, const std::string& text) {
  std::memcpy(buffer.room().data(), text.data(), text.size());
  buffer.set_payload_bytes(text.size());
}

inline Offer offer_of(const std::string& guest) {
  Offer offer;
  offer.mutable_guest()->set_name(guest);
  auto* block = offer.add_ram_block();
  block->set_name("pc.ram");
  block->set_used_bytes(1U << 20U);
  block->set_max_bytes(1U << 20U);
  offer.set_term(1);
  return offer;
}

inline Seal seal_of(std::uint64_t frames) {
  Seal seal;
  seal.set_frames(frames);
  seal.set_device_bytes(1000);
  seal.add_used_bytes(1U << 20U);
  seal.set_pages(frames);
  return seal;
}

/// Thread-safe. Refuses payloads and seals that contain "bad".
class FakeReplica final : public ReplicaEvents {
 public:
  Result<> on_sync_pages(std::span<const std::byte> payload) override {
    const std::lock_guard lock{mutex_};
    synced_ += text_of(payload);
    return {};
  }
  Result<> on_check(std::span<const std::byte> payload) override {
    if (text_of(payload.first(std::min<std::size_t>(3, payload.size()))) == "bad") {
      return fail(ErrorKind::protocol, "a bad record");
    }
    return {};
  }
  Result<> on_check_seal(const Seal& seal) override {
    if (seal.pages() == bad_pages) return fail(ErrorKind::protocol, "a bad seal");
    return {};
  }
  Result<> on_input(Epoch epoch, std::span<const std::byte> payload) override {
    note([&] { inputs_.emplace_back(epoch, text_of(payload)); });
    return {};
  }
  void on_commit(const StagedEpoch& epoch) override {
    const std::lock_guard lock{mutex_};
    std::string content;
    for (const auto& payload : epoch.payloads) content += text_of(payload);
    epochs_.push_back(std::move(content));
    in_order_ = in_order_ && epoch.epoch.value() == epochs_.size();
    changed_.notify_all();
  }
  Reply on_request(const Request& request, const KeepGoing& keep_going) override {
    Reply reply;
    reply.set_id(request.id());
    if (request.id() == endless_request) {
      note([&] { ++requests_; });
      while (keep_going()) {
      }
      reply.set_failed("told to stop");
      return reply;
    }
    const std::lock_guard lock{mutex_};
    reply.mutable_verify()->set_epoch(epochs_.size());
    return reply;
  }
  void on_end(const Error& reason) override {
    const std::lock_guard lock{mutex_};
    ends_.push_back(reason.message);
    changed_.notify_all();
  }

  template <class Condition>
  [[nodiscard]] bool wait(Condition condition) {
    std::unique_lock lock{mutex_};
    return changed_.wait_until(lock, now() + seconds{20}, condition);
  }
  [[nodiscard]] bool wait_epochs(std::size_t count) {
    return wait([&] { return epochs_.size() >= count; });
  }
  [[nodiscard]] bool wait_request() {
    return wait([&] { return requests_ > 0; });
  }
  [[nodiscard]] bool wait_end() {
    return wait([&] { return !ends_.empty(); });
  }
  [[nodiscard]] std::vector<std::string> epochs() {
    const std::lock_guard lock{mutex_};
    return epochs_;
  }
  /// Counted from 0.
  [[nodiscard]] std::optional<std::string> epoch(std::size_t index) {
    const std::lock_guard lock{mutex_};
    return index < epochs_.size() ? std::optional{epochs_[index]} : std::nullopt;
  }
  [[nodiscard]] std::vector<std::pair<Epoch, std::string>> wait_inputs(std::size_t count) {
    static_cast<void>(wait([&] { return inputs_.size() >= count; }));
    const std::lock_guard lock{mutex_};
    return inputs_;
  }
  [[nodiscard]] std::vector<std::string> ends() {
    const std::lock_guard lock{mutex_};
    return ends_;
  }
  [[nodiscard]] std::string synced() {
    const std::lock_guard lock{mutex_};
    return synced_;
  }
  [[nodiscard]] bool in_order() {
    const std::lock_guard lock{mutex_};
    return in_order_;
  }

  static constexpr std::uint64_t bad_pages = 666;
  static constexpr std::uint64_t endless_request = 667;

 private:
  template <class Change>
  void note(Change change) {
    const std::lock_guard lock{mutex_};
    change();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string synced_;
  std::vector<std::string> epochs_;
  std::vector<std::pair<Epoch, std::string>> inputs_;
  std::vector<std::string> ends_;
  bool in_order_{true};
  int requests_{};
};

/// What a primary hears. Thread-safe.
class FakePrimary {
 public:
  [[nodiscard]] SenderEvents events() {
    return {
        .committed = [this](Epoch epoch) { note([&] { committed_ = epoch; }); },
        .replied = [this](const Reply& reply) { note([&] { reply_ = reply; }); },
        .link =
            [this](LinkState state, const std::string& /*why*/) {
              note([&] { (state == LinkState::up ? ups_ : downs_)++; });
            },
        .lost = [this](const Error& why) { note([&] { lost_ = why; }); },
    };
  }
  [[nodiscard]] bool wait_committed(std::uint64_t epoch) {
    return wait([&] { return committed_.value() >= epoch; });
  }
  [[nodiscard]] bool wait_lost() {
    return wait([&] { return lost_.has_value(); });
  }
  [[nodiscard]] bool wait_downs(int count) {
    return wait([&] { return downs_ >= count; });
  }
  [[nodiscard]] bool wait_ups(int count) {
    return wait([&] { return ups_ >= count; });
  }
  [[nodiscard]] bool wait_reply(std::uint64_t id) {
    return wait([&] { return reply_ && reply_->id() == id; });
  }
  [[nodiscard]] Epoch committed() {
    const std::lock_guard lock{mutex_};
    return committed_;
  }
  [[nodiscard]] std::optional<Error> lost() {
    const std::lock_guard lock{mutex_};
    return lost_;
  }
  [[nodiscard]] std::optional<Reply> reply() {
    const std::lock_guard lock{mutex_};
    return reply_;
  }

 private:
  template <class Change>
  void note(Change change) {
    const std::lock_guard lock{mutex_};
    change();
    changed_.notify_all();
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock{mutex_};
    return changed_.wait_until(lock, now() + seconds{20}, condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Epoch committed_;
  int ups_{};
  int downs_{};
  std::optional<Error> lost_;
  std::optional<Reply> reply_;
};

/// Sends one epoch of `frames` frames; returns what the replica must have applied.
inline std::string send_epoch(CheckpointSender& sender, std::uint64_t epoch, std::size_t frames,
                              std::size_t bytes = 100) {
  std::string content;
  for (std::size_t i = 0; i < frames; ++i) {
    auto buffer = sender.acquire(seconds{20});
    if (!buffer) return "no buffer: " + buffer.error().message;
    const std::string part(bytes, static_cast<char>('a' + (epoch * 7 + i) % 26));
    fill(*buffer, part);
    content += part;
    sender.submit(std::move(*buffer), FrameType::pages, Epoch{epoch});
  }
  auto buffer = sender.acquire(seconds{20});
  if (!buffer) return "no buffer: " + buffer.error().message;
  fill(*buffer, seal_of(frames).SerializeAsString());
  sender.submit(std::move(*buffer), FrameType::seal, Epoch{epoch});
  return content;
}

}  // namespace understudy::replication
