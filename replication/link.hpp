// The port for the path between two hosts. Adapters: TCP (asio_tcp_link) and datagrams.
//
// A link carries frames (frame_codec.hpp). It may lose, repeat or reorder them unless it says
// otherwise; it never alters one unnoticed. It knows nothing of epochs, pages or sessions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "config/result.hpp"
#include "replication/frame_codec.hpp"

namespace understudy::replication {

class Connection;

/// Called on the link's own thread, never inside a call of Link.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;

  /// A frame's header has arrived and is valid: where shall its payload go? At least
  /// `header.payload_bytes` long; valid until on_frame or on_down. This is how a page reaches the
  /// staging area without a copy. An empty span refuses the frame: the link goes down.
  [[nodiscard]] virtual std::span<std::byte> place(const FrameHeader& header) = 0;

  /// The payload is complete in the place given, and its checksum holds.
  virtual void on_frame(const FrameHeader& header, std::span<const std::byte> payload) = 0;

  /// After a refused `send`: there is room again.
  virtual void on_writable() = 0;

  /// The end of this link; nothing follows. Not called for `close`: whoever closes knows.
  virtual void on_down(Error reason) = 0;
};

struct LinkCounters {
  std::uint64_t received_bytes;  ///< of the peer's, whole frames or not
  std::uint64_t sent_frames;
  std::uint64_t resent_packets;  ///< the link's, because some were lost or late
};

/// All verbs on the link's own thread.
class Link {
 public:
  virtual ~Link() = default;

  /// Takes one whole frame (header and payload, as encoded) without copying it. The bytes must stay
  /// unchanged until they are acknowledged by the peer or the link is down. False: no room,
  /// on_writable will come.
  [[nodiscard]] virtual bool send(std::span<const std::byte> frame) = 0;

  /// The same for a frame that nobody keeps (an ack, a ping, a control message): copied, unless the
  /// kernel takes it at once. Also false without room; such frames may be dropped or said again.
  [[nodiscard]] virtual bool send_copy(std::span<const std::byte> frame) = 0;

  /// Nothing more is sent or delivered: what was taken still leaves, what comes is dropped, and
  /// on_down follows when the peer has closed its end too. For a bye that shall arrive.
  virtual void finish() = 0;

  /// At once; nothing is called after it.
  virtual void close() = 0;

  /// Closes the link but not the connection, for another thread to go on with. Between frames only:
  /// nullptr if something of the next frame has come already, or if something waits to leave.
  [[nodiscard]] virtual std::unique_ptr<Connection> release() = 0;

  [[nodiscard]] virtual LinkCounters counters() = 0;
};

}  // namespace understudy::replication
