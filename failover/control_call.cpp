#include "failover/control_server.hpp"

#include <utility>

#include "config/assert.hpp"

namespace understudy::failover {
namespace {

class Call final : public ControlCall {
 public:
  Call(std::shared_ptr<ReplySink> sink, control::Request request)
      : sink_{std::move(sink)}, request_{std::move(request)} {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() override {
    if (!finished_) fail({ErrorKind::closed, "understudyd dropped the request"});
  }

  [[nodiscard]] const control::Request& request() const override { return request_; }

  void progress(const std::string& step, double fraction) override {
    control::Progress progress;
    progress.set_step(step);
    progress.set_fraction(fraction);
    if (!finished_) sink_->progress(progress);
  }

  void finish(control::Reply reply) final {
    UNDERSTUDY_ASSERT(!std::exchange(finished_, true), "a call is finished once");
    UNDERSTUDY_ASSERT(reply.what_case() != control::Reply::kProgress &&
                          reply.what_case() != control::Reply::WHAT_NOT_SET,
                      "a call ends with a final reply");
    sink_->finish(reply);
  }

  [[nodiscard]] bool abandoned() const override { return !sink_->open(); }

 private:
  std::shared_ptr<ReplySink> sink_;
  control::Request request_;
  bool finished_{};
};

class Order final : public ControlCall {
 public:
  Order(control::Request request, std::function<void(const control::Reply&)> done)
      : request_{std::move(request)}, done_{std::move(done)} {}
  [[nodiscard]] const control::Request& request() const override { return request_; }
  void progress(const std::string& /*step*/, double /*fraction*/) override {}
  void finish(control::Reply reply) override { done_(reply); }

 private:
  control::Request request_;
  std::function<void(const control::Reply&)> done_;
};

}  // namespace

std::string guest_of(const control::Request& request) {
  switch (request.what_case()) {
    case control::Request::kStart: return request.start().guest();
    case control::Request::kStop: return request.stop().guest();
    case control::Request::kProtect: return request.protect().guest();
    case control::Request::kUnprotect: return request.unprotect().guest();
    case control::Request::kVerify: return request.verify().guest();
    case control::Request::kSwitchOver: return request.switch_over().guest();
    case control::Request::kDrill: return request.drill().guest();
    case control::Request::kHistory: return request.history().guest();
    case control::Request::kClone: return request.clone().guest();
    case control::Request::kExport: return request.export_().guest();
    case control::Request::kImport: return request.import().guest();
    case control::Request::kRewind: return request.rewind().guest();
    default: return {};
  }
}

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid: return "invalid";
    case ErrorKind::unavailable: return "unavailable";
    case ErrorKind::incompatible: return "incompatible";
    case ErrorKind::conflict: return "conflict";
    case ErrorKind::limit: return "limit";
    case ErrorKind::protocol: return "protocol";
    case ErrorKind::closed: return "closed";
    case ErrorKind::timed_out: return "timed_out";
    case ErrorKind::io: return "io";
  }
  return "unknown";
}

std::shared_ptr<ControlCall> make_call(std::shared_ptr<ReplySink> sink, control::Request request) {
  return std::make_shared<Call>(std::move(sink), std::move(request));
}

std::shared_ptr<ControlCall> make_order(control::Request request,
                                        std::function<void(const control::Reply&)> done) {
  return std::make_shared<Order>(std::move(request), std::move(done));
}

control::Reply error_reply(const Error& error) {
  control::Reply reply;
  reply.mutable_error()->set_kind(std::string{kind_name(error.kind)});
  reply.mutable_error()->set_message(error.message);
  return reply;
}

void ControlCall::fail(const Error& error) {
  finish(error_reply(error));
}

void ControlCall::done(std::string message) {
  control::Reply reply;
  reply.mutable_done()->set_message(std::move(message));
  finish(std::move(reply));
}

}  // namespace understudy::failover
