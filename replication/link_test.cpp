#include "replication/link_test.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "replication/control_frame.hpp"
#include "replication/messages.pb.h"
#include "replication/random_number.hpp"

namespace understudy::replication {
namespace {

using boost::system::error_code;

constexpr std::size_t echoes = 500;
constexpr std::size_t frames_per_turn = 32;

/// A probe with this number is not answered: it only fills the link.
constexpr Sequence filler{};

class Responder final : public LinkEvents, public std::enable_shared_from_this<Responder> {
 public:
  Responder(asio::io_context& io, SessionId session, std::function<void()> gone)
      : patience_{io}, session_{session}, gone_{std::move(gone)} {}

  void start(asio::io_context& io, Connection& connection) {
    link_ = connection.start(io, *this);
    patience_.expires_after(limits::link_test_longest);
    // The timer owns us: we die after its end, and the link before that.
    patience_.async_wait([self = shared_from_this()](const error_code&) { self->leave(); });
    HelloReply reply;
    reply.set_accepted(true);
    const auto frame = encode_message(FrameType::hello_reply, session_, reply);
    if (!link_->send_copy(*frame)) leave();
  }

  std::span<std::byte> place(const FrameHeader& header) override {
    const bool expected = header.type == FrameType::probe || header.type == FrameType::bye;
    return expected && header.session == session_ ? payload_ : std::span<std::byte>{};
  }
  void on_frame(const FrameHeader& header, std::span<const std::byte> /*payload*/) override {
    if (header.type == FrameType::bye) return leave();
    if (header.sequence == filler) return;
    const FrameHeader answer{
        .type = FrameType::probe_reply, .session = session_, .sequence = header.sequence};
    // One answer is awaited at a time: there is room for it.
    if (link_ && !link_->send_copy(encode_header(answer, {}))) leave();
  }
  void on_writable() override {}
  void on_down(Error /*reason*/) override { leave(); }

 private:
  void leave() {
    patience_.cancel();
    if (link_) std::exchange(link_, nullptr)->close();
    if (gone_) std::exchange(gone_, nullptr)();
  }

  asio::steady_timer patience_;
  SessionId session_;
  std::function<void()> gone_;
  std::shared_ptr<Link> link_;
  std::vector<std::byte> payload_ = std::vector<std::byte>(limits::frame_payload_bytes);
};

class Tester final : public LinkEvents {
 public:
  Tester(const LinkTestPlan& plan, const std::function<bool()>& cancelled)
      : plan_{plan},
        cancelled_{cancelled},
        dialer_{plan.transport->dialer(io_, plan.peer, plan.to_host)} {}

  Result<LinkMeasure> run() {
    dialer_->dial([this](Result<std::unique_ptr<Connection>> dialled) {
      if (!dialled) return finish(fail(dialled.error()));
      link_ = (*dialled)->start(io_, *this);
      say_hello();
    });
    began_ = now();
    tick();
    io_.run();
    return std::move(*result_);
  }

  std::span<std::byte> place(const FrameHeader& header) override {
    return header.session == session_ ? payload_ : std::span<std::byte>{};
  }
  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override {
    switch (header.type) {
      case FrameType::hello_reply: return on_hello_reply(payload);
      case FrameType::probe_reply: return on_reply(header.sequence);
      default:
        return finish(fail(ErrorKind::protocol, "host {} sent a {} frame", plan_.to_host,
                           to_string(header.type)));
    }
  }
  void on_writable() override { fill(); }
  void on_down(Error reason) override {
    link_.reset();
    finish(fail(reason.within("the link to host " + plan_.to_host)));
  }

 private:
  void say_hello() {
    Hello hello;
    hello.set_cluster(plan_.cluster);
    hello.set_from_host(plan_.from_host);
    hello.set_to_host(plan_.to_host);
    hello.set_link_test(true);
    const auto frame = encode_message(FrameType::hello, session_, hello);
    if (!frame) return finish(fail(frame.error()));
    static_cast<void>(link_->send_copy(*frame));
  }

  void on_hello_reply(std::span<const std::byte> payload) {
    HelloReply reply;
    if (const auto read = decode_message(payload, FrameType::hello_reply, reply); !read)
      return finish(fail(read.error()));
    if (!reply.accepted()) {
      return finish(fail(ErrorKind::incompatible, "host {} refuses: {}", plan_.to_host,
                         reply.refusal_size() > 0 ? reply.refusal(0) : "it does not say why"));
    }
    probe();
  }

  /// The next echo, when the one before has been answered.
  void probe() {
    probe_ = probe_.next();
    asked_ = now();
    const FrameHeader header{.type = FrameType::probe, .session = session_, .sequence = probe_};
    static_cast<void>(link_->send_copy(encode_header(header, {})));
  }

  void on_reply(Sequence sequence) {
    if (sequence != probe_) return;
    if (filling_since_) return finish(measured());
    round_trips_.push_back(now() - asked_);
    if (round_trips_.size() < echoes) return probe();
    filling_since_ = now();
    const FrameHeader header{.type = FrameType::probe, .session = session_, .sequence = filler};
    std::ranges::copy(encode_header(header, std::span{frame_}.subspan(limits::frame_header_bytes)),
                      frame_.begin());
    fill();
  }

  void fill() {
    if (!filling_since_ || !link_ || result_ || last_asked_) return;
    if (now() - *filling_since_ > limits::link_test_bulk) return ask_last();
    for (std::size_t i = 0; i < frames_per_turn; ++i) {
      if (!link_->send(frame_)) return;
      ++filled_;
    }
    asio::post(io_, [this] { fill(); });
  }

  /// Its answer tells that all before it has arrived.
  void ask_last() {
    probe_ = probe_.next();
    const FrameHeader header{.type = FrameType::probe, .session = session_, .sequence = probe_};
    last_asked_ = link_->send_copy(encode_header(header, {}));
  }

  Result<LinkMeasure> measured() {
    std::ranges::sort(round_trips_);
    const std::chrono::duration<double> took = now() - *filling_since_;
    const auto bytes = static_cast<double>(filled_ * limits::frame_payload_bytes);
    return LinkMeasure{bytes / took.count(), round_trips_[round_trips_.size() / 2],
                       round_trips_[round_trips_.size() * 99 / 100], link_->counters()};
  }

  void tick() {
    if (result_) return;
    if (cancelled_()) return finish(fail(ErrorKind::closed, "the test was ended"));
    if (now() - began_ > limits::link_test_longest) {
      return finish(fail(ErrorKind::timed_out, "host {} did not answer in time", plan_.to_host));
    }
    fill();
    timer_.expires_after(limits::link_tick);
    timer_.async_wait([this](const error_code& error) {
      if (!error) tick();
    });
  }

  void finish(Result<LinkMeasure> result) {
    if (result_) return;
    result_ = std::move(result);
    timer_.cancel();
    dialer_->cancel();
    // Later: we may be inside one of the link's calls.
    asio::post(io_, [this] {
      if (link_) link_->close();
      io_.stop();
    });
  }

  const LinkTestPlan& plan_;
  const std::function<bool()>& cancelled_;
  asio::io_context io_{1};
  asio::steady_timer timer_{io_};
  std::unique_ptr<Dialer> dialer_;
  std::shared_ptr<Link> link_;
  SessionId session_{random_number()};
  std::vector<std::byte> payload_ = std::vector<std::byte>(limits::frame_payload_bytes);
  std::vector<std::byte> frame_ = std::vector<std::byte>(limits::frame_bytes);
  TimePoint began_;
  TimePoint asked_;
  Sequence probe_;
  std::vector<Duration> round_trips_;
  std::optional<TimePoint> filling_since_;
  bool last_asked_{};
  std::size_t filled_{};
  std::optional<Result<LinkMeasure>> result_;
};

}  // namespace

Result<LinkMeasure> measure_link(const LinkTestPlan& plan, const std::function<bool()>& cancelled) {
  return Tester{plan, cancelled}.run();
}

void answer_link_test(asio::io_context& io, std::unique_ptr<Connection> connection,
                      SessionId session, std::function<void()> gone) {
  std::make_shared<Responder>(io, session, std::move(gone))->start(io, *connection);
}

}  // namespace understudy::replication
