// What hosts with the same key can say to each other before they have a connection, so that nobody
// else on the segment can take the places of those who greet, answer in another's name, or end a
// connection. PROTOCOL.md ("Who is where") draws it. Pure: time is a parameter.
#pragma once

#include <array>
#include <functional>
#include <span>

#include "config/clock.hpp"
#include "replication/datagram_packet.hpp"
#include "replication/datagram_port.hpp"
#include "replication/security.hpp"

namespace understudy::replication {

/// Credentials::vouch; thread-safe. Empty: there is no key.
using Vouch = std::function<Voucher(std::span<const std::byte>)>;

/// The tag of a packet between two addresses: who repeats it from or to elsewhere says nothing.
[[nodiscard]] Voucher voucher_of(const Vouch& vouch, const HostAddress& from, const HostAddress& to,
                                 std::span<const std::byte> header,
                                 std::span<const std::byte> payload);

/// Whether its sender has the key. False without one.
[[nodiscard]] bool vouched(const Vouch& vouch, const HostAddress& from, const HostAddress& to,
                           const Packet& packet);

/// What a host gives to those who ask for it and wants back from those who knock: so nothing that
/// was recorded earlier, or said by somebody else, opens a place. The host remembers none of them.
/// Thread-safe.
class Invitations {
 public:
  using Ticket = Voucher;
  /// `secret`: of this process, nobody else's.
  Invitations(Vouch vouch, const Voucher& secret) : vouch_{std::move(vouch)}, secret_{secret} {}

  [[nodiscard]] Ticket make(const HostAddress& peer, ConnectionId connection, TimePoint at) const;
  /// One that was made for the same between 0 and 2 limits::invitation_period ago.
  [[nodiscard]] bool good(std::span<const std::byte> ticket, const HostAddress& peer,
                          ConnectionId connection, TimePoint at) const;

 private:
  [[nodiscard]] Ticket of_period(const HostAddress& peer, ConnectionId connection,
                                 std::uint64_t period) const;

  Vouch vouch_;
  Voucher secret_;
};

}  // namespace understudy::replication
