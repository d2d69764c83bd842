// A primary that may say anything under a good checksum. The input is a list of frames, each
// {type, sequence step, epoch step, payload length, payload}. Committed epochs stay in order.
#include <algorithm>

#include "config/assert.hpp"
#include "fuzz_targets.hpp"
#include "replication/connection.hpp"
#include "replication/receiver_session.hpp"

namespace understudy::replication {
namespace {

class CheckingReplica final : public ReplicaEvents {
 public:
  Result<> on_sync_pages(std::span<const std::byte> /*payload*/) override {
    UNDERSTUDY_ASSERT(committed_ == Epoch{}, "no synchronisation behind an epoch");
    return {};
  }
  Result<> on_check(std::span<const std::byte> /*payload*/) override {
    ++checked_;
    return {};
  }
  Result<> on_check_seal(const Seal& seal) override {
    UNDERSTUDY_ASSERT(seal.device_bytes() <= limits::device_state_bytes, "sizes are checked");
    return {};
  }
  void on_commit(const StagedEpoch& epoch) override {
    UNDERSTUDY_ASSERT(epoch.epoch == committed_.next(), "epochs in order");
    UNDERSTUDY_ASSERT(epoch.payloads.size() == checked_, "only what was checked");
    UNDERSTUDY_ASSERT(epoch.seal.frames() == checked_, "whole");
    committed_ = epoch.epoch;
    checked_ = 0;
  }
  Reply on_request(const Request& /*request*/, const KeepGoing& keep_going) override {
    UNDERSTUDY_ASSERT(keep_going(), "nobody ends it");
    return {};
  }
  void on_end(const Error& /*reason*/) override {
    UNDERSTUDY_ASSERT(!ended_, "ended once");
    ended_ = true;
  }
  [[nodiscard]] Epoch committed() const { return committed_; }

 private:
  Epoch committed_;
  std::size_t checked_{};
  bool ended_{};
};

class NoLink final : public Link {
 public:
  bool send(std::span<const std::byte> /*frame*/) override { return open_; }
  bool send_copy(std::span<const std::byte> /*frame*/) override { return open_; }
  void finish() override { open_ = false; }
  void close() override { open_ = false; }
  std::unique_ptr<Connection> release() override { return nullptr; }
  [[nodiscard]] LinkCounters counters() override { return {}; }
  [[nodiscard]] bool open() const { return open_; }

 private:
  bool open_{true};
};

class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : bytes_{bytes} {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    return std::to_integer<std::uint8_t>(take(1).empty() ? std::byte{} : last_);
  }
  std::span<const std::byte> take(std::size_t count) {
    const auto taken = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(taken.size());
    if (!taken.empty()) last_ = taken.back();
    return taken;
  }

 private:
  std::span<const std::byte> bytes_;
  std::byte last_{};
};

}  // namespace

void fuzz_receiver(std::span<const std::byte> bytes) {
  Input input{bytes};
  const auto replica = std::make_shared<CheckingReplica>();
  const SessionId id{3};
  ReceiverSession session{{.session = id,
                           .block_bytes = {4096},
                           .staging = std::move(Mapping::anonymous(16384).value()),
                           .replica = replica,
                           .clock = [] { return TimePoint{}; },
                           .ended = [] {},
                           .gone = [] {}}};
  auto link = std::make_shared<NoLink>();
  session.adopt(link);
  std::uint64_t sequence = 0;
  while (!input.empty()) {
    if (!link->open()) {
      link = std::make_shared<NoLink>();
      session.adopt(link);
      if (!link->open()) return;  // the session is over
    }
    FrameHeader header{.type = static_cast<FrameType>(1 + input.byte() % 12), .session = id};
    sequence += input.byte() % 8 == 0 ? 0 : 1;
    header.sequence = Sequence{std::max<std::uint64_t>(sequence, 1)};
    header.epoch = Epoch{replica->committed().value() + (input.byte() % 8 == 0 ? 2 : 1)};
    const auto payload = input.take(input.byte());
    header.payload_bytes = static_cast<std::uint32_t>(payload.size());
    const auto place = session.place(header).first(payload.size());
    std::ranges::copy(payload, place.begin());
    session.on_frame(header, place);
  }
}

}  // namespace understudy::replication
