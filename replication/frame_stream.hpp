// Frames in a stream of bytes, in clear text or secured (PROTOCOL.md, "On the wire of TCP"). Pure:
// bytes in, frames out; frames in, bytes out.
//
// In clear text frames follow each other. Secured, everything is in chunks: first the handshake's,
// then one record per frame. A record's header, its frame's header and its payload are read to
// where they belong and opened there; sealing is the one pass that takes them to the wire.
//
//   while (true)
//     switch (advance())  header: place(where the owner wants it)   frame: take it
//                         more: read into room(), then filled(bytes)
//                         ready: the handshake is done, what waits can be sealed
//   take_output() after each advance, and after its error, too: it tells the peer why.
//
// The frame's header is acted upon (a place is given) before the record's tag has been verified;
// nothing else is.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "replication/frame_codec.hpp"
#include "replication/security.hpp"

namespace understudy::replication {

class FrameStream {
 public:
  enum class Step : std::uint8_t { more, ready, header, frame };

  /// What a secured stream adds to a frame: the record's header and its tag.
  static constexpr std::size_t record_header_bytes = 4;
  static constexpr std::size_t overhead_bytes = record_header_bytes + RecordSealer::tag_bytes;

  /// In clear text.
  FrameStream() = default;
  /// In clear text, too, without credentials.
  [[nodiscard]] static Result<FrameStream> begin(std::shared_ptr<const Credentials> credentials,
                                                 HandshakeSide side);

  // --- in

  /// Where the next bytes go, in this order; the second may be empty.
  [[nodiscard]] std::array<std::span<std::byte>, 2> room();
  void filled(std::size_t bytes);
  /// An error is the stream's end.
  [[nodiscard]] Result<Step> advance();
  /// Of the frame that `advance` has come to.
  [[nodiscard]] const FrameHeader& header() const { return header_; }
  /// After Step::header: at least `header().payload_bytes`.
  void place(std::span<std::byte> where);
  [[nodiscard]] std::span<const std::byte> payload() const { return place_; }
  /// No frame has begun but in what was read ahead, which stays with the stream.
  [[nodiscard]] bool between_frames() const { return state_ == State::frame_header; }
  /// What it means that the stream ends here.
  [[nodiscard]] Error end() const;

  // --- out

  /// Frames may leave: the handshake is done, or there is none.
  [[nodiscard]] bool ready() const { return state_ != State::handshake; }
  [[nodiscard]] bool secured() const { return sealer_ != nullptr; }
  /// The frame as a record, in `out`: its size and overhead_bytes. When `ready` and `secured`.
  void seal(std::span<const std::byte> frame, std::span<std::byte> out);
  /// What must be sent now, before any frame; empty when nothing.
  [[nodiscard]] std::vector<std::byte> take_output();

 private:
  enum class State : std::uint8_t { handshake, frame_header, frame_placing, frame_payload };
  static constexpr std::size_t ahead_bytes =
      RecordSealer::tag_bytes + record_header_bytes + limits::frame_header_bytes;

  [[nodiscard]] std::size_t header_bytes() const;
  [[nodiscard]] std::size_t tag_bytes() const;
  [[nodiscard]] Result<Step> advance_handshake();
  [[nodiscard]] Result<> begin_chunk();
  [[nodiscard]] Result<> hear_chunk();
  [[nodiscard]] Result<Step> advance_header();
  [[nodiscard]] Result<FrameHeader> read_header();
  [[nodiscard]] Result<FrameHeader> open_header();
  [[nodiscard]] Result<Step> advance_payload();
  void shift(std::size_t bytes);

  State state_{State::frame_header};
  std::unique_ptr<Handshake> handshake_;
  std::unique_ptr<RecordSealer> sealer_;
  std::unique_ptr<RecordOpener> opener_;
  std::uint64_t sealed_{};
  std::uint64_t opened_{};
  std::vector<std::byte> output_;

  /// What follows a payload: the tag of its record, then the next frame's header.
  std::array<std::byte, ahead_bytes> ahead_{};
  std::size_t ahead_read_{};
  std::vector<std::byte> chunk_;  ///< of the handshake
  std::size_t chunk_read_{};
  FrameHeader header_;
  std::span<std::byte> place_;
  std::size_t payload_read_{};
};

}  // namespace understudy::replication
