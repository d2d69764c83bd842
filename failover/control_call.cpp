#include "failover/control_server.hpp"

namespace understudy::failover {

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

void ControlCall::fail(const Error& error) {
  control::Reply reply;
  reply.mutable_error()->set_kind(std::string{kind_name(error.kind)});
  reply.mutable_error()->set_message(error.message);
  finish(std::move(reply));
}

void ControlCall::done(std::string message) {
  control::Reply reply;
  reply.mutable_done()->set_message(std::move(message));
  finish(std::move(reply));
}

}  // namespace understudy::failover
