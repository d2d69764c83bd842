#include "failover/monitoring/http_order.hpp"

#include <google/protobuf/util/json_util.h>

namespace understudy::failover {
namespace {

constexpr std::size_t text_bytes = 200;

}  // namespace

Result<control::Request> parse_order(const std::string& json) {
  control::Request request;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &request);
  if (!parsed.ok())
    return fail(ErrorKind::invalid, "not a Request of control.proto: {}",
                parsed.ToString().substr(0, text_bytes));
  switch (request.what_case()) {
    case control::Request::kDrill:
      // A plan may name programs to run here: a token for the page is no login.
      if (!request.drill().plan().empty())
        return fail(ErrorKind::invalid, "a drill that a page orders takes the guest's own plan");
      return request;
    case control::Request::kStart:
      // They may be older than what clients were told: whoever says so is to see the host itself.
      if (request.start().accept_disks())
        return fail(ErrorKind::invalid, "a start that a page orders takes no images as they are");
      return request;
    case control::Request::kStop:
    case control::Request::kProtect:
    case control::Request::kUnprotect:
    case control::Request::kSwitchOver:
    case control::Request::kVerify:
    case control::Request::kDrain:
    case control::Request::kUndrain: return request;
    default:
      return fail(
          ErrorKind::invalid,
          "a page orders start, stop, protect, unprotect, switch_over, drill, verify, drain "
          "or undrain; for all else there is the command line");
  }
}

std::string order_text(const control::Request& request) {
  return request.ShortDebugString().substr(0, text_bytes);
}

}  // namespace understudy::failover
