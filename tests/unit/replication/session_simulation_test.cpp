// The production machines, thousands of times, over a connection that is cut at random bytes.
//
// The checker knows what was sent: every commit that the primary hears is of an epoch which the
// replica has been given byte for byte; epochs are applied in order; at the end none is missing.
#include <deque>
#include <random>

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "machine_frames.hpp"
#include "replication/connection.hpp"
#include "replication/receiver_session.hpp"
#include "replication/sender_machine.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

/// What one side has said and the other has not heard yet.
using Wire = std::deque<std::vector<std::byte>>;

class SimLink final : public Link {
 public:
  explicit SimLink(Wire& out) : out_{out} {}
  bool send(std::span<const std::byte> frame) override { return send_copy(frame); }
  bool send_copy(std::span<const std::byte> frame) override {
    if (open_) out_.emplace_back(frame.begin(), frame.end());
    return true;
  }
  void finish() override { open_ = false; }
  void close() override { open_ = false; }
  std::unique_ptr<Connection> release() override { return nullptr; }
  [[nodiscard]] LinkCounters counters() override { return {}; }
  [[nodiscard]] bool open() const { return open_; }

 private:
  Wire& out_;
  bool open_{true};
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : random_{seed} {}

  void run() {
    connect();
    for (int step = 0; step < 400; ++step) one_step();
    reliable_ = true;
    for (int step = 0; step < 20'000 && !done(); ++step) one_step();
    CHECK(done());
    CHECK(replica_->epochs() == sent_);
    CHECK(replica_->in_order());
    CHECK(replica_->ends().empty());
    CHECK(pool_->in_use() == 0);
  }

 private:
  static constexpr std::size_t frames = 24;

  std::uint64_t roll(std::uint64_t sides) { return random_() % sides; }
  [[nodiscard]] bool done() const {
    return reliable_ && part_ == 0 && sender_.committed().value() == sent_.size() &&
           sender_.in_flight() == 0;
  }

  void one_step() {
    at_ += milliseconds{static_cast<int>(roll(120))};
    switch (roll(8)) {
      case 0:
      case 1: write(); break;
      case 2:
      case 3: send_one(); break;
      case 4:
      case 5: to_backup(); break;
      case 6: to_primary(); break;
      default: disturb(); break;
    }
  }

  /// The guest's next frame, or the seal that completes its epoch.
  void write() {
    if (reliable_ && part_ == 0) return ack_rest();
    auto buffer = pool_->acquire({});
    if (!buffer) return;
    const Epoch epoch{sent_.size() + 1};
    if (part_ > 0 && roll(4) == 0) {
      fill(*buffer, seal_of(part_).SerializeAsString());
      sender_.submit(std::move(*buffer), FrameType::seal, epoch);
      sent_.push_back(std::exchange(content_, {}));
      part_ = 0;
      return;
    }
    const std::string text(1 + roll(300), static_cast<char>('A' + roll(50)));
    fill(*buffer, text);
    content_ += text;
    ++part_;
    sender_.submit(std::move(*buffer), FrameType::pages, epoch);
  }

  /// Frames behind the last seal are acknowledged only in numbers; nothing waits for them.
  void ack_rest() {
    if (sender_.phase() == SenderMachine::Phase::down) connect();
  }

  void send_one() {
    const auto frame = sender_.next();
    if (!frame || !near_->send(*frame)) return;
    sender_.taken(at_);
  }

  void to_backup() {
    if (to_backup_.empty()) return;
    const auto bytes = std::move(to_backup_.front());
    to_backup_.pop_front();
    const auto frame = as_frame(bytes);
    if (frame.header.type == FrameType::hello) return greet();
    if (!far_ || !far_->open()) return;
    const auto place = session_.place(frame.header).first(frame.payload.size());
    std::copy(frame.payload.begin(), frame.payload.end(), place.begin());
    session_.on_frame(frame.header, place);
  }

  void greet() {
    far_ = std::make_shared<SimLink>(to_primary_);
    session_.adopt(far_);
  }

  void to_primary() {
    if (to_primary_.empty()) return;
    const auto frame = as_frame(to_primary_.front());
    to_primary_.pop_front();
    const auto outcome = sender_.on_frame(frame.header, frame.payload, at_);
    if (!outcome) FAIL(outcome.error().message);
    if (outcome->over) FAIL(outcome->over->message);
    if (!outcome->committed) return;
    // Output of these epochs leaves now: the replica must hold them.
    for (; heard_committed_ < outcome->committed->value(); ++heard_committed_) {
      if (replica_->epoch(heard_committed_) != sent_.at(heard_committed_)) {
        FAIL("epoch " << heard_committed_ + 1 << " was committed, but the replica lacks it");
      }
    }
  }

  void disturb() {
    const auto due = sender_.due(at_);
    if (due == SenderMachine::Due::ping) {
      sender_.pinged(at_);
      static_cast<void>(near_->send_copy(encode_signal(FrameType::ping, id_)));
    }
    const bool silent = due == SenderMachine::Due::silent;
    const bool unlucky = !reliable_ && roll(6) == 0;
    if (silent || unlucky || sender_.phase() == SenderMachine::Phase::down) connect();
  }

  /// What is under way is lost from some frame on, each way; then a new connection.
  void connect() {
    cut(to_backup_, [this] { to_backup(); });
    if (far_ && far_->open()) {
      far_->close();
      session_.on_down({ErrorKind::closed, "cut"});
    }
    // A commit may still reach the primary, or may not.
    if (sender_.phase() != SenderMachine::Phase::down) {
      cut(to_primary_, [this] { to_primary(); });
    }
    to_primary_.clear();
    sender_.on_down();
    sender_.on_connected(at_);
    near_ = std::make_shared<SimLink>(to_backup_);
    Hello hello;
    REQUIRE(near_->send_copy(*encode_message(FrameType::hello, id_, hello)));
  }

  template <class Deliver>
  void cut(Wire& wire, Deliver deliver) {
    for (auto arrives = roll(wire.size() + 1); arrives > 0 && !wire.empty(); --arrives) deliver();
    wire.clear();
  }

  std::mt19937_64 random_;
  TimePoint at_{seconds{1000}};
  bool reliable_{};
  const SessionId id_{77};

  std::unique_ptr<FramePool> pool_ = std::move(FramePool::create(frames).value());
  SenderMachine sender_{id_};
  std::vector<std::string> sent_;
  std::size_t heard_committed_{};
  std::string content_;
  std::size_t part_{};

  Wire to_backup_;
  Wire to_primary_;
  std::shared_ptr<SimLink> near_;
  std::shared_ptr<SimLink> far_;
  std::shared_ptr<FakeReplica> replica_ = std::make_shared<FakeReplica>();
  ReceiverSession session_{{.session = id_,
                            .block_bytes = {1U << 20U},
                            .staging = std::move(Mapping::anonymous(1U << 20U).value()),
                            .replica = replica_,
                            .clock = [this] { return at_; },
                            .ended = [] {},
                            .gone = [] {}}};
};

}  // namespace

TEST_CASE("whatever is cut, no commit comes early and no epoch is lost") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    INFO("seed " << seed);
    Simulation{seed}.run();
  }
}
