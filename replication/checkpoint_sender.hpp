// The primary's end of a replication session: takes frames of epochs, tells of commits.
//
// One object per guest and protection. It owns one thread, which runs the link and the
// SenderMachine; when the link breaks it connects again and goes on where the backup stopped,
// without the caller noticing more than a delay. The verbs below may be called from one other
// thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "config/clock.hpp"
#include "config/names.hpp"
#include "config/result.hpp"
#include "config/types.hpp"
#include "replication/connection.hpp"
#include "replication/frame_buffer.hpp"
#include "replication/frame_codec.hpp"
#include "replication/messages.pb.h"

namespace understudy::replication {

enum class LinkState : std::uint8_t { up, down };

/// Called on the session's thread; must not block and must not call back into the sender's
/// start/stop. Nothing is called after `stop` has returned.
struct SenderEvents {
  /// The backup holds all epochs up to this one, whole. Never decreases.
  std::function<void(Epoch)> committed;
  std::function<void(const Reply&)> replied;
  /// The link went down (and is being connected again) or came back.
  std::function<void(LinkState, const std::string& why)> link;
  /// The session is over for good: the backup refused, forgot us or said bye. Called at most once.
  std::function<void(const Error&)> lost;
};

struct SenderStatus {
  LinkState link;
  std::uint64_t sent_bytes;  ///< on the wire, headers included
  std::uint64_t resent_frames;
  std::size_t frames_in_flight;
  std::uint64_t waits;  ///< times `acquire` had to wait: the link is the bottleneck
};

struct SenderParties {
  std::string cluster;
  std::string from_host;
  std::string to_host;
  Endpoint backup;
  std::shared_ptr<Transport> transport = tcp_transport();
};

class CheckpointSender {
 public:
  virtual ~CheckpointSender() = default;

  /// Connects and offers; blocks until the backup has accepted (it starts a standby machine first)
  /// or refused, at most `limits::link_connect` to connect and `patience` for the answer. A refusal
  /// is an `incompatible` error that carries the backup's sentences.
  [[nodiscard]] static Result<std::unique_ptr<CheckpointSender>> open(const SenderParties& parties,
                                                                      const Offer& offer,
                                                                      Duration patience,
                                                                      SenderEvents events);

  /// A free buffer. Waits while all are in flight: this is how a slow link slows the guest. Errors:
  /// `timed_out`, or `closed` when the session is lost, of which `lost` has told before.
  [[nodiscard]] virtual Result<FrameBuffer> acquire(Duration patience) = 0;

  /// Sends a filled buffer as the next sequenced frame.
  virtual void submit(FrameBuffer buffer, FrameType type, Epoch epoch) = 0;

  /// A copy of what the guest was given in `epoch`, at most limits::frame_payload_bytes: sent at
  /// once and once, if the link has room and the backup wants such. Any thread; waits for nobody.
  virtual void relay_input(std::vector<std::byte> payload, Epoch epoch) = 0;

  [[nodiscard]] virtual SenderStatus status() const = 0;

  /// Says bye (reason for the peer's log) and joins the thread. Idempotent.
  virtual void stop(const std::string& reason) = 0;
};

}  // namespace understudy::replication
