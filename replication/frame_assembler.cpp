#include "replication/frame_assembler.hpp"

namespace understudy::replication {

Result<FrameAssembler::Target> FrameAssembler::begin(const HeaderBytes& head, std::size_t rest,
                                                     LinkEvents& events) const {
  if (inside()) return fail(ErrorKind::protocol, "a frame begins inside another");
  UNDERSTUDY_TRY(const auto header, decode_header(head));
  if (rest > header.payload_bytes) {
    return fail(ErrorKind::protocol, "a {} frame of {} bytes, and {} came", to_string(header.type),
                header.payload_bytes, rest);
  }
  const auto place = events.place(header);
  if (place.size() < header.payload_bytes || place.empty()) {
    return fail(ErrorKind::protocol, "a {} frame is not expected here", to_string(header.type));
  }
  return Target{header, place.first(header.payload_bytes), place.first(rest)};
}

Result<FrameAssembler::Target> FrameAssembler::go_on(std::size_t bytes) const {
  if (!inside()) return fail(ErrorKind::protocol, "a frame without a beginning");
  if (bytes > place_.size() - filled_) {
    return fail(ErrorKind::protocol, "a {} frame of {} bytes, and {} came",
                to_string(header_->type), header_->payload_bytes, filled_ + bytes);
  }
  return Target{std::nullopt, place_, place_.subspan(filled_, bytes)};
}

Result<std::optional<FrameAssembler::Frame>> FrameAssembler::took(const Target& target, Part part) {
  if (target.header) {
    header_ = target.header;
    place_ = target.place;
    filled_ = 0;
  }
  filled_ += target.to.size();
  if (part == Part::not_last) return std::nullopt;
  const auto header = *std::exchange(header_, std::nullopt);
  if (filled_ != place_.size()) {
    return fail(ErrorKind::protocol, "a {} frame of {} bytes ends after {}", to_string(header.type),
                place_.size(), filled_);
  }
  UNDERSTUDY_CHECK(verify_checksum(header, place_));
  return Frame{header, place_};
}

}  // namespace understudy::replication
