#include "checkpointer/frame_writer.hpp"

#include "checkpointer/page_codec.hpp"
#include "config/assert.hpp"

namespace understudy::checkpointer {
namespace {

/// How often a wait for the link looks whether it should go on.
constexpr auto patience = milliseconds{50};

}  // namespace

void FrameWriter::begin(replication::FrameType type, Epoch epoch) {
  flush();
  type_ = type;
  epoch_ = epoch;
  frames_ = 0;
  bytes_ = 0;
}

Result<std::span<std::byte>> FrameWriter::room() {
  if (frame_ && limits::frame_payload_bytes - used_ < record_bytes_max) flush();
  if (!frame_) {
    UNDERSTUDY_TRY(frame_, acquire());
    used_ = 0;
  }
  return frame_->room().subspan(used_);
}

void FrameWriter::wrote(std::size_t bytes) {
  used_ += bytes;
  UNDERSTUDY_ASSERT(frame_ && used_ <= limits::frame_payload_bytes,
                    "records stay inside their frame");
}

void FrameWriter::flush() {
  if (!frame_ || used_ == 0) return;
  frame_->set_payload_bytes(used_);
  sender_.submit(*std::exchange(frame_, std::nullopt), type_, epoch_);
  bytes_ += std::exchange(used_, 0);
  ++frames_;
}

Result<> FrameWriter::message(replication::FrameType type, Epoch epoch,
                              const google::protobuf::MessageLite& content) {
  flush();
  UNDERSTUDY_TRY(auto frame, acquire());
  const auto size = content.ByteSizeLong();
  if (size > frame.room().size())
    return fail(ErrorKind::limit, "a control message of {} bytes", size);
  content.SerializeToArray(frame.room().data(), static_cast<int>(size));
  frame.set_payload_bytes(size);
  sender_.submit(std::move(frame), type, epoch);
  return {};
}

Result<replication::FrameBuffer> FrameWriter::acquire() {
  while (true) {
    auto frame = sender_.acquire(patience);
    if (frame || frame.error().kind != ErrorKind::timed_out) return frame;
    if (cancelled_()) return fail(ErrorKind::closed, "protection was ended");
  }
}

}  // namespace understudy::checkpointer
