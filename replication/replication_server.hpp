// The backup's end: accepts sessions, stages epochs, acknowledges them when they are whole.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/names.hpp"
#include "config/result.hpp"
#include "config/types.hpp"
#include "replication/connection.hpp"
#include "replication/frame_codec.hpp"
#include "replication/messages.pb.h"

namespace understudy::replication {

/// An epoch that the backup holds whole, frame by frame, in the order in which it was sent. The
/// payloads are what the primary put in; they stay valid during the call only.
struct StagedEpoch {
  Epoch epoch;
  std::vector<std::span<const std::byte>> payloads;
  std::vector<std::span<const std::byte>> disk_payloads;
  Seal seal;
};

/// What a long event asks every few MiB of its work: false when the session shall end now. Asking
/// is what keeps the primary from taking the silence for a broken link.
using KeepGoing = std::function<bool()>;

/// What becomes of a session's frames. Called on the session's thread, in order, one at a time.
class ReplicaEvents {
 public:
  virtual ~ReplicaEvents() = default;

  /// Pages of the full synchronisation. An error ends the session and is told to the primary.
  [[nodiscard]] virtual Result<> on_sync_pages(std::span<const std::byte> payload) = 0;

  /// Looked at before the epoch is acknowledged: every record is well-formed and inside the image.
  /// What passes here must apply without failing.
  [[nodiscard]] virtual Result<> on_check(std::span<const std::byte> payload) = 0;

  /// The same for a guest's disks. Those who have none refuse.
  [[nodiscard]] virtual Result<> on_sync_disk(std::span<const std::byte> payload);
  [[nodiscard]] virtual Result<> on_check_disk(std::span<const std::byte> payload);

  /// The same for the seal, once its count of frames and its sizes agree with the offer.
  [[nodiscard]] virtual Result<> on_check_seal(const Seal& seal) = 0;

  /// The epoch is committed: its acknowledgement has been handed to the link. Apply it.
  virtual void on_commit(const StagedEpoch& epoch) = 0;

  /// A copy of what the guest was given in `epoch`, unless that is committed already. Some may be
  /// missing. Nothing is acknowledged by it.
  [[nodiscard]] virtual Result<> on_input(Epoch /*epoch*/, std::span<const std::byte> /*payload*/) {
    return {};
  }

  /// May take its time if it asks `keep_going` meanwhile; when told to stop, it answers `failed`.
  [[nodiscard]] virtual Reply on_request(const Request& request, const KeepGoing& keep_going) = 0;

  /// The session has ended and nothing follows: primary's bye, an epoch that is not what it claims
  /// to be, replaced or stopped, or the primary stayed away for limits::primary_away. A link that
  /// is merely down, or was cut because rubbish came out of it, does not end a session. Must not
  /// wait for whoever called end_session or stop.
  virtual void on_end(const Error& reason) = 0;
};

struct ReceiverStatus {
  bool connected;
  Epoch committed;
  TimePoint last_commit;
  std::uint64_t received_bytes;
  std::size_t staged_bytes;
};

/// What a backup needs beside the replica image to stage any epoch of this guest: address space, of
/// which only what is used costs memory. For the check that the backup is large enough. `limit` or
/// `invalid` when the offer's RAM blocks are not those of a possible guest.
[[nodiscard]] Result<std::size_t> staging_bytes(const Offer& offer);

/// Decides about an offer; called on the new session's thread and may take its time (it starts a
/// standby machine). A refusal's message is shown to the primary's operator, one sentence per line.
using AcceptOffer = std::function<Result<std::shared_ptr<ReplicaEvents>>(
    const Offer& offer, const std::string& from_host)>;

class ReplicationServer {
 public:
  virtual ~ReplicationServer() = default;

  /// Listens on `at` with every transport; "address in use" and the like name the address and the
  /// remedy.
  [[nodiscard]] static Result<std::unique_ptr<ReplicationServer>> listen(
      const Endpoint& at, std::string cluster, std::string this_host, AcceptOffer accept,
      std::vector<std::shared_ptr<Transport>> transports = {tcp_transport()});

  /// Where its first transport listens; the port that the kernel chose if `listen` was given port
  /// 0.
  [[nodiscard]] virtual Endpoint endpoint() const = 0;

  /// Ends a guest's session, if there is one. After it has returned nothing is acknowledged any
  /// more and no event is called: what was acknowledged has been applied. This is what a promotion
  /// calls first. It waits for the event that is running, no longer. `reason` is told to the
  /// primary if it still listens. A request that is being answered is told to stop. An offer about
  /// which `accept` is still deciding is not waited for: it is refused afterwards, and all that its
  /// ReplicaEvents ever see is on_end. Any thread but the session's own.
  virtual void end_session(const std::string& guest, const std::string& reason) = 0;

  /// nullopt: no session.
  [[nodiscard]] virtual std::optional<ReceiverStatus> status(const std::string& guest) const = 0;

  /// Ends all sessions and the listener; waits for an `accept` that is deciding. Idempotent.
  virtual void stop() = 0;
};

}  // namespace understudy::replication
