// What a primary's end of a session does, decided without a socket, a thread or a clock.
//
//   down --on_connected--> greeting --accepted--> running --refused, bye--> over
//     ^------------on_down-----'----------on_down----'
//
// It numbers the sequenced frames, keeps them until the backup holds them, and says after each new
// connection which to send again. It believes no backup: an ack beyond what this link has taken, or
// a commit beyond what was sealed and sent, is an error, and the link must be dropped.
#pragma once

#include <deque>
#include <optional>

#include "config/clock.hpp"
#include "replication/frame_buffer.hpp"
#include "replication/frame_codec.hpp"
#include "replication/messages.pb.h"

namespace understudy::replication {

/// One thread.
class SenderMachine {
 public:
  enum class Phase { down, greeting, running, over };
  enum class Due { nothing, ping, silent };

  /// What a frame from the backup means for us.
  struct Outcome {
    bool welcomed{};  ///< accepted or resumed: frames may be sent
    bool ping{};      ///< to be answered with a pong
    std::optional<Epoch> committed;
    std::optional<Reply> reply;
    std::optional<Error> over;
  };

  explicit SenderMachine(SessionId session) : session_{session} {}

  /// Numbers a frame, writes its header and keeps it. At most limits::frames_in_flight are kept:
  /// the caller's pool has no more.
  void submit(FrameBuffer buffer, FrameType type, Epoch epoch);

  /// A link is there: the caller sends a Hello, with `resume` if `accepted()`.
  void on_connected(TimePoint at);
  void on_down();

  /// An error is the link's end, never the session's; that is Outcome::over.
  [[nodiscard]] Result<Outcome> on_frame(const FrameHeader& header,
                                         std::span<const std::byte> payload, TimePoint at);

  /// The next frame for the link, if there is one and it may be sent; then `taken`. Its bytes stay
  /// until it is acknowledged.
  [[nodiscard]] std::optional<std::span<const std::byte>> next() const;
  void taken(TimePoint at);

  /// A ping when we have said nothing, or heard nothing, for limits::link_keepalive; silent when we
  /// have heard nothing for limits::link_silence. While greeting only silence counts, and only once
  /// accepted: the first answer may take its time.
  [[nodiscard]] Due due(TimePoint at) const;
  void pinged(TimePoint at);

  /// The session is over; frames go back to their pool.
  void end();

  [[nodiscard]] Phase phase() const { return phase_; }
  [[nodiscard]] SessionId session() const { return session_; }
  [[nodiscard]] bool accepted() const { return accepted_; }
  /// Whether input frames may be sent now.
  [[nodiscard]] bool takes_input() const { return phase_ == Phase::running && takes_input_; }
  [[nodiscard]] Epoch committed() const { return committed_; }
  [[nodiscard]] std::size_t in_flight() const { return kept_.size(); }
  [[nodiscard]] std::uint64_t resent() const { return resent_; }

 private:
  struct Kept {
    FrameBuffer buffer;
    FrameType type;
    Epoch epoch;
  };

  [[nodiscard]] Result<Outcome> on_hello_reply(std::span<const std::byte> payload);
  /// The backup says that it holds all frames up to `held`, of which it can know those up to
  /// `possible`, and all epochs up to `epoch`. Changes nothing if that cannot be.
  [[nodiscard]] Result<Outcome> on_claim(Sequence held, Sequence possible, Epoch epoch);
  [[nodiscard]] bool can_hold(Epoch epoch, Sequence held) const;
  [[nodiscard]] Sequence last_taken() const { return Sequence{acked_.value() + taken_}; }

  SessionId session_;
  Phase phase_{Phase::down};
  bool accepted_{};
  bool takes_input_{};
  std::deque<Kept> kept_;  ///< the first is number acked_ + 1
  std::size_t taken_{};    ///< of kept_, by this link
  Sequence acked_;
  Sequence sent_;  ///< the highest that any link has taken
  Epoch sealed_;   ///< the highest whose seal any link has taken
  Epoch committed_;
  std::uint64_t resent_{};
  TimePoint heard_;
  TimePoint said_;
  TimePoint pinged_;
};

}  // namespace understudy::replication
