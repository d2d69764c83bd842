// Who may speak on a link, and how it is kept from others: a TLS 1.3 handshake authenticated by a
// pre-shared key, and records under AEAD with keys that come out of it (RFC 8446, RFC 5705).
//
// The handshake is a machine without I/O: a link carries its bytes, in order. Records are sealed
// and opened by number; a number gives the nonce and, every limits::records_per_key, a new key, so
// nothing has to be said when keys rotate. Who opens decides which numbers may come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "config/limits.hpp"
#include "config/result.hpp"

namespace understudy::replication {

/// What a handshake yields: a secret for each direction.
using TrafficSecret = std::array<std::byte, 32>;

struct SessionKeys {
  TrafficSecret ours;
  TrafficSecret theirs;
};

/// What only those with the key can say of some words.
using Voucher = std::array<std::byte, 16>;

/// The host's key, read once. Shared by all links; thread-safe.
class Credentials {
 public:
  /// `file` holds the pre-shared key, limits::shared_key_bytes or more of them, readable by its
  /// owner only. Errors name the file and the remedy.
  [[nodiscard]] static Result<std::shared_ptr<const Credentials>> load(const std::string& file);
  virtual ~Credentials() = default;

  /// HMAC-SHA384 under a key of its own, cut to 16 bytes.
  [[nodiscard]] virtual Voucher vouch(std::span<const std::byte> words) const = 0;
};

enum class HandshakeSide : std::uint8_t { client, server };

/// One thread.
class Handshake {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Handshake>> begin(
      std::shared_ptr<const Credentials> credentials, HandshakeSide side);
  virtual ~Handshake() = default;

  /// The peer's next bytes, however they are cut, none after `done`. An error is the link's end;
  /// its sentence tells an operator what to do (another key, no key, not this protocol).
  /// `take_output` then has what tells the peer.
  [[nodiscard]] virtual Result<> on_bytes(std::span<const std::byte> bytes) = 0;
  /// What must be sent now, in order; empty when nothing.
  [[nodiscard]] virtual std::vector<std::byte> take_output() = 0;
  /// Both have proved that they know the key. The peer may still need the last output.
  [[nodiscard]] virtual bool done() const = 0;
  /// Once, after `done`.
  [[nodiscard]] virtual Result<SessionKeys> keys() = 0;
};

/// Seals records of one direction. One thread.
class RecordSealer {
 public:
  static constexpr std::size_t tag_bytes = 16;

  /// Both ends agree on `records_per_key`; only tests want it smaller.
  [[nodiscard]] static Result<std::unique_ptr<RecordSealer>> create(
      const TrafficSecret& secret, std::uint64_t records_per_key = limits::records_per_key);
  virtual ~RecordSealer() = default;

  /// Encrypts the pieces one after the other into `out`, which has their size and tag_bytes more;
  /// `header` travels beside it, authenticated. A number must never come twice. Numbers may only
  /// grow.
  virtual void seal(std::uint64_t number, std::span<const std::byte> header,
                    std::span<const std::span<const std::byte>> pieces,
                    std::span<std::byte> out) = 0;
};

/// Opens records of one direction. One thread. The key before the newest is kept, for records that
/// come late; the key after it is taken up when a record under it has proved genuine. A record of
/// any other key is refused at once: so a link must not lose limits::records_per_key in a row.
class RecordOpener {
 public:
  [[nodiscard]] static Result<std::unique_ptr<RecordOpener>> create(
      const TrafficSecret& secret, std::uint64_t records_per_key = limits::records_per_key);
  virtual ~RecordOpener() = default;

  /// A record in pieces: `begin`, then `next` as often as needed, then `finish` with its tag. What
  /// `next` wrote is worth nothing until `finish` has succeeded. In place is allowed.
  [[nodiscard]] virtual Result<> begin(std::uint64_t number, std::span<const std::byte> header) = 0;
  virtual void next(std::span<const std::byte> sealed, std::span<std::byte> out) = 0;
  [[nodiscard]] virtual Result<> finish(
      std::span<const std::byte, RecordSealer::tag_bytes> tag) = 0;
};

}  // namespace understudy::replication
