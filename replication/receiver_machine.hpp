// What a backup's end of a session does with frames, decided without a socket, a thread or a clock.
//
// Sequenced frames are taken in order. One that it holds already is ignored; one that is missing
// ends the link, for a stream in order (TCP) has no gaps: the primary comes back and is told where
// to go on. What a peer without knowledge of the session can cause is an Error, the link's end.
// What only the primary itself can have said wrong, under a checksum that holds (a seal that lies,
// an epoch out of order), is a Violation, the session's end: saying it again would not help.
//
// The pages of one epoch are staged in memory given at the start; its seal completes it.
#pragma once

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "replication/frame_codec.hpp"
#include "replication/replication_server.hpp"

namespace understudy::replication {

/// One thread.
class ReceiverMachine {
 public:
  struct Ignored {};
  struct SyncPages {
    std::span<const std::byte> payload;
  };
  /// Staged; to be checked before anything else is delivered.
  struct Pages {
    std::span<const std::byte> payload;
  };
  struct SyncDisk {
    std::span<const std::byte> payload;
  };
  /// As Pages.
  struct Disk {
    std::span<const std::byte> payload;
  };
  /// `staged()` is whole; its pages are checked. Check the seal, then `commit`, `applied`.
  struct Sealed {};
  struct Asked {
    Request request;
  };
  /// What the guest was given in this epoch; it may have been committed meanwhile.
  struct Input {
    Epoch epoch;
    std::span<const std::byte> payload;
  };
  struct Pinged {};
  struct Left {
    std::string reason;
  };
  struct Violation {
    Error error;
  };
  using Delivery = std::variant<Ignored, SyncPages, SyncDisk, Pages, Disk, Sealed, Asked, Input,
                                Pinged, Left, Violation>;

  /// `block_bytes`: what each RAM block may use at most, in the order of the offer.
  ReceiverMachine(SessionId session, std::vector<std::uint64_t> block_bytes,
                  std::span<std::byte> staging);

  /// Where a frame's payload shall be read to.
  [[nodiscard]] std::span<std::byte> place(const FrameHeader& header);

  /// `payload` lies where `place` said.
  [[nodiscard]] Result<Delivery> on_frame(const FrameHeader& header,
                                          std::span<const std::byte> payload);

  [[nodiscard]] const StagedEpoch& staged() const { return staged_; }
  /// After Sealed: the epoch counts as held from now on. Returns the commit frame.
  [[nodiscard]] HeaderBytes commit();
  /// After `commit`: frees the staging area.
  void applied();

  /// Enough frames have come since the last ack or commit.
  [[nodiscard]] bool ack_due() const { return unacked_ >= limits::ack_every_frames; }
  [[nodiscard]] HeaderBytes ack();

  /// The answer to a hello: where to go on.
  [[nodiscard]] HelloReply welcome() const;

  [[nodiscard]] SessionId session() const { return session_; }
  [[nodiscard]] Epoch committed() const { return committed_; }
  [[nodiscard]] std::size_t staged_bytes() const { return staged_bytes_; }

 private:
  [[nodiscard]] bool to_be_staged(const FrameHeader& header) const;
  [[nodiscard]] Result<Delivery> on_sequenced(const FrameHeader& header,
                                              std::span<const std::byte> payload);
  [[nodiscard]] Delivery on_synchronisation(FrameType type,
                                            std::span<const std::byte> payload) const;
  [[nodiscard]] Delivery on_contents(const FrameHeader& header, std::span<const std::byte> payload);
  [[nodiscard]] Delivery on_seal(const FrameHeader& header, std::span<const std::byte> payload);
  [[nodiscard]] Result<> check_seal(Epoch epoch, const Seal& seal) const;

  SessionId session_;
  std::vector<std::uint64_t> block_bytes_;
  std::span<std::byte> staging_;
  std::vector<std::byte> scratch_;  ///< for payloads that are not staged
  StagedEpoch staged_;
  std::size_t
      staged_bytes_{};  ///< every frame takes whole cache lines: many small ones are bounded too
  bool sealed_{};       ///< between Sealed and applied
  Sequence held_;
  Epoch committed_;
  std::size_t unacked_{};
};

}  // namespace understudy::replication
