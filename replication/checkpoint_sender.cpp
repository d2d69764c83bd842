// A thread that runs a SenderMachine and one link after another.
#include "replication/checkpoint_sender.hpp"

#include <array>
#include <atomic>
#include <future>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/log.hpp"
#include "config/priority.hpp"
#include "replication/control_frame.hpp"
#include "replication/greeting.hpp"
#include "replication/random_number.hpp"
#include "replication/sender_machine.hpp"

namespace understudy::replication {
namespace {

using boost::system::error_code;

/// After so many frames the thread looks at what the backup says.
constexpr std::size_t frames_per_turn = 32;

class Sender final : public CheckpointSender, private LinkEvents {
 public:
  Sender(SenderParties parties, const Offer& offer, SenderEvents events,
         std::unique_ptr<FramePool> pool)
      : parties_{std::move(parties)},
        offer_{offer},
        events_{std::move(events)},
        pool_{std::move(pool)},
        dialer_{parties_.transport->dialer(io_, parties_.backup, parties_.to_host)},
        machine_{SessionId{random_number()}} {}
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;
  // NOLINTNEXTLINE(bugprone-exception-escape): a thread that is joinable can be joined
  ~Sender() override { halt("the primary is going away"); }

  [[nodiscard]] Result<> start(Duration patience);

  Result<FrameBuffer> acquire(Duration patience) override { return pool_->acquire(patience); }
  void submit(FrameBuffer buffer, FrameType type, Epoch epoch) override;
  void relay_input(std::vector<std::byte> payload, Epoch epoch) override;
  SenderStatus status() const override;
  void stop(const std::string& reason) override { halt(reason); }

 private:
  enum class State { opening, open, lost, stopping };
  struct Submitted {
    FrameBuffer buffer;
    FrameType type;
    Epoch epoch;
  };
  struct Input {
    std::vector<std::byte> payload;
    Epoch epoch;
  };

  void halt(const std::string& reason);

  // All below on the session's thread.
  [[nodiscard]] bool stood_still();
  void connect();
  void greet();
  void take_submitted();
  void send_inputs();
  void pump();
  void tick();
  void handle(SenderMachine::Outcome outcome);
  void welcomed();
  void drop_link(const Error& reason);
  void lose(const Error& reason);
  void say_bye(const std::string& reason);
  void say(std::span<const std::byte> frame);
  void publish();

  std::span<std::byte> place(const FrameHeader& header) override;
  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override;
  void on_writable() override { pump(); }
  void on_down(Error reason) override;

  const SenderParties parties_;
  const Offer offer_;
  const SenderEvents events_;
  std::unique_ptr<FramePool> pool_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Dialer> dialer_;
  asio::steady_timer connect_timer_{io_};  ///< begins the next attempt
  asio::steady_timer tick_timer_{io_};
  SenderMachine machine_;
  State state_{State::opening};
  std::shared_ptr<Link> link_;
  std::array<std::byte, limits::frame_payload_bytes> payload_{};
  bool pump_posted_{};
  TimePoint alive_;  ///< when the thread was last known to run
  std::promise<Result<>> opened_;

  std::mutex submitted_mutex_;
  std::vector<Submitted> submitted_;
  std::vector<Input> inputs_;

  std::atomic<LinkState> link_state_{LinkState::down};
  std::atomic<std::uint64_t> sent_bytes_{};
  std::atomic<std::uint64_t> resent_frames_{};
  std::atomic<std::size_t> in_flight_{};

  std::mutex stop_mutex_;
  std::thread thread_;
};

Result<> Sender::start(Duration patience) {
  UNDERSTUDY_CHECK(
      encode_message(FrameType::hello, machine_.session(), make_hello(parties_, &offer_)));
  auto opened = opened_.get_future();
  asio::post(io_, [this] { connect(); });
  thread_ = std::thread{[this] {
    static_cast<void>(ask_for_real_time());  // a guest's output waits for what comes in here
    io_.run();
  }};
  if (opened.wait_for(limits::link_connect + patience) == std::future_status::ready) {
    return opened.get();
  }
  return fail(ErrorKind::timed_out, "host {} did not answer our offer within {} s",
              parties_.to_host, std::chrono::duration_cast<seconds>(patience).count());
}

void Sender::submit(FrameBuffer buffer, FrameType type, Epoch epoch) {
  bool first = false;
  {
    const std::lock_guard lock{submitted_mutex_};
    first = submitted_.empty();
    submitted_.push_back({std::move(buffer), type, epoch});
  }
  if (first) asio::post(io_, [this] { take_submitted(); });
}

void Sender::relay_input(std::vector<std::byte> payload, Epoch epoch) {
  bool first = false;
  {
    const std::lock_guard lock{submitted_mutex_};
    if (inputs_.size() == limits::input_messages) return;
    first = inputs_.empty();
    inputs_.push_back({std::move(payload), epoch});
  }
  if (first) asio::post(io_, [this] { send_inputs(); });
}

SenderStatus Sender::status() const {
  return {link_state_, sent_bytes_, resent_frames_, in_flight_, pool_->waits()};
}

void Sender::halt(const std::string& reason) {
  const std::lock_guard lock{stop_mutex_};
  if (!thread_.joinable()) return;
  pool_->close();
  asio::post(io_, [this, reason] { say_bye(reason); });
  thread_.join();
}

void Sender::connect() {
  dialer_->dial([this](Result<std::unique_ptr<Connection>> dialled) {
    if (!dialled) return drop_link(dialled.error());
    link_ = (*dialled)->start(io_, *this);
    greet();
  });
}

/// A host that stood still may have been taken over from meanwhile, whatever has come in: what the
/// backup says over a new link is true now.
bool Sender::stood_still() {
  const auto at = now();
  return at - std::exchange(alive_, at) > limits::link_doze;
}

void Sender::greet() {
  alive_ = now();
  machine_.on_connected(now());
  const auto hello = encode_message(FrameType::hello, machine_.session(),
                                    make_hello(parties_, machine_.accepted() ? nullptr : &offer_));
  say(*hello);
  tick();
}

void Sender::take_submitted() {
  std::vector<Submitted> taken;
  {
    const std::lock_guard lock{submitted_mutex_};
    std::swap(taken, submitted_);
  }
  for (auto& frame : taken) machine_.submit(std::move(frame.buffer), frame.type, frame.epoch);
  pump();
}

void Sender::send_inputs() {
  std::vector<Input> taken;
  {
    const std::lock_guard lock{submitted_mutex_};
    std::swap(taken, inputs_);
  }
  if (!machine_.takes_input()) return;
  for (const auto& input : taken) {
    const auto frame =
        encode_unnumbered(FrameType::input, machine_.session(), input.epoch, input.payload);
    if (!link_ || !link_->send_copy(frame)) return;
    sent_bytes_ += frame.size();
  }
}

void Sender::pump() {
  if (state_ != State::open) return;
  for (std::size_t i = 0; i < frames_per_turn && link_; ++i) {
    const auto frame = machine_.next();
    if (!frame || !link_->send(*frame)) return publish();
    sent_bytes_ += frame->size();
    machine_.taken(now());
  }
  publish();
  if (!std::exchange(pump_posted_, true)) {
    asio::post(io_, [this] {
      pump_posted_ = false;
      pump();
    });
  }
}

void Sender::tick() {
  if (!link_ || state_ == State::stopping) return;
  if (stood_still() && state_ == State::open)
    return drop_link({ErrorKind::timed_out, "this host stood still"});
  switch (machine_.due(now())) {
    case SenderMachine::Due::nothing: break;
    case SenderMachine::Due::ping:
      machine_.pinged(now());
      say(encode_signal(FrameType::ping, machine_.session()));
      break;
    case SenderMachine::Due::silent:
      return drop_link({ErrorKind::timed_out, "the backup is silent"});
  }
  tick_timer_.expires_after(limits::link_tick);
  tick_timer_.async_wait([this](const error_code& cancelled) {
    if (!cancelled) tick();
  });
}

std::span<std::byte> Sender::place(const FrameHeader& /*header*/) {
  return payload_;
}

void Sender::on_frame(const FrameHeader& header, std::span<const std::byte> payload) {
  if (state_ == State::lost || state_ == State::stopping) return;
  if (stood_still() && state_ == State::open)
    return drop_link({ErrorKind::timed_out, "this host stood still"});
  auto outcome = machine_.on_frame(header, payload, now());
  if (!outcome) return drop_link(outcome.error());
  handle(std::move(*outcome));
  publish();
}

void Sender::handle(SenderMachine::Outcome outcome) {
  if (outcome.over) return lose(*outcome.over);
  if (outcome.ping) say(encode_signal(FrameType::pong, machine_.session()));
  if (outcome.welcomed) welcomed();
  if (outcome.committed && events_.committed) events_.committed(*outcome.committed);
  if (outcome.reply && events_.replied) events_.replied(*outcome.reply);
  if (outcome.welcomed) pump();
}

void Sender::welcomed() {
  link_state_ = LinkState::up;
  if (state_ == State::opening) {
    state_ = State::open;
    opened_.set_value({});
  } else if (events_.link) {
    events_.link(LinkState::up, "the backup is connected again");
  }
}

void Sender::on_down(Error reason) {
  if (state_ == State::stopping) return io_.stop();
  if (state_ == State::lost) return link_.reset();
  drop_link(reason);
}

void Sender::drop_link(const Error& reason) {
  if (link_) std::exchange(link_, nullptr)->close();
  machine_.on_down();
  tick_timer_.cancel();
  if (state_ == State::opening) return lose(reason);
  if (link_state_.exchange(LinkState::down) == LinkState::up && events_.link) {
    events_.link(LinkState::down, reason.message);
  }
  connect_timer_.expires_after(limits::link_reconnect);
  connect_timer_.async_wait([this](const error_code& cancelled) {
    if (!cancelled && state_ == State::open) connect();
  });
}

void Sender::lose(const Error& reason) {
  const auto before = std::exchange(state_, State::lost);
  link_state_ = LinkState::down;
  if (link_) std::exchange(link_, nullptr)->close();
  tick_timer_.cancel();
  connect_timer_.cancel();
  dialer_->cancel();
  machine_.end();
  // Told before `acquire` can say so: its caller then knows why.
  if (before != State::opening && events_.lost) events_.lost(reason);
  pool_->close();
  if (before == State::opening) opened_.set_value(fail(reason));
}

void Sender::say_bye(const std::string& reason) {
  const bool greeted = link_ && state_ != State::lost;
  state_ = State::stopping;
  tick_timer_.cancel();
  dialer_->cancel();
  if (!greeted || !link_->send_copy(encode_bye(machine_.session(), reason))) return io_.stop();
  link_->finish();
  connect_timer_.expires_after(limits::link_goodbye);
  connect_timer_.async_wait([this](const error_code& cancelled) {
    if (!cancelled) io_.stop();
  });
}

void Sender::say(std::span<const std::byte> frame) {
  // A ping or pong that finds no room is not missed: the queue before it keeps the link busy.
  static_cast<void>(link_ && link_->send_copy(frame));
}

void Sender::publish() {
  in_flight_ = machine_.in_flight();
  resent_frames_ = machine_.resent();
}

}  // namespace

Result<std::unique_ptr<CheckpointSender>> CheckpointSender::open(const SenderParties& parties,
                                                                 const Offer& offer,
                                                                 Duration patience,
                                                                 SenderEvents events) {
  UNDERSTUDY_TRY(auto pool, FramePool::create(limits::frames_in_flight));
  auto sender = std::make_unique<Sender>(parties, offer, std::move(events), std::move(pool));
  UNDERSTUDY_CHECK(sender->start(patience));
  return sender;
}

}  // namespace understudy::replication
