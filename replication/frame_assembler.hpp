// Puts frames together out of the segments of messages, in the place that the owner gives. Pure.
//
// A segment's bytes are written before it is known whether they are genuine: `target` says where
// to, and changes nothing; `took` comes when they are.
#pragma once

#include <optional>

#include "replication/frame_codec.hpp"
#include "replication/link.hpp"

namespace understudy::replication {

/// One thread.
class FrameAssembler {
 public:
  struct Target {
    std::optional<FrameHeader> header;  ///< of the frame that begins
    std::span<std::byte> place;         ///< of the whole payload
    std::span<std::byte> to;            ///< of this segment's part
  };
  struct Frame {
    FrameHeader header;
    std::span<const std::byte> payload;
  };

  /// A segment that begins a frame: its first bytes are `head`, `rest` more follow.
  [[nodiscard]] Result<Target> begin(const HeaderBytes& head, std::size_t rest,
                                     LinkEvents& events) const;
  /// A segment that goes on with one.
  [[nodiscard]] Result<Target> go_on(std::size_t bytes) const;

  /// The segment is genuine and its bytes are in their place. Gives the frame that is complete.
  enum class Part : std::uint8_t { last, not_last };
  [[nodiscard]] Result<std::optional<Frame>> took(const Target& target, Part part);

  [[nodiscard]] bool inside() const { return header_.has_value(); }

 private:
  std::optional<FrameHeader> header_;
  std::span<std::byte> place_;
  std::size_t filled_{};
};

}  // namespace understudy::replication
