// Packs page records into frames and hands them to a session.
#pragma once

#include <functional>
#include <optional>

#include "replication/checkpoint_sender.hpp"

namespace understudy::checkpointer {

/// One thread.
class FrameWriter {
 public:
  /// `cancelled` is asked while a slow link makes us wait.
  FrameWriter(replication::CheckpointSender& sender, std::function<bool()> cancelled)
      : sender_{sender}, cancelled_{std::move(cancelled)} {}

  /// What is written from now on belongs to this epoch and travels in frames of this type.
  void begin(replication::FrameType type, Epoch epoch);

  /// Room for at least one record; the same until `wrote`. Waits while the link is the bottleneck;
  /// `closed` when the session is lost or the wait was cancelled.
  [[nodiscard]] Result<std::span<std::byte>> room();
  void wrote(std::size_t bytes);

  /// Sends what is packed so far.
  void flush();

  /// A frame of its own, behind all before it.
  [[nodiscard]] Result<> message(replication::FrameType type, Epoch epoch,
                                 const google::protobuf::MessageLite& content);

  [[nodiscard]] std::uint64_t frames() const { return frames_; }  ///< since begin
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }    ///< payload, since begin

 private:
  [[nodiscard]] Result<replication::FrameBuffer> acquire();

  replication::CheckpointSender& sender_;
  std::function<bool()> cancelled_;
  replication::FrameType type_{};
  Epoch epoch_;
  std::optional<replication::FrameBuffer> frame_;
  std::size_t used_{};
  std::uint64_t frames_{};
  std::uint64_t bytes_{};
};

}  // namespace understudy::checkpointer
