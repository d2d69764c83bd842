#include "replication/vouching.hpp"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "replication/little_endian.hpp"

namespace understudy::replication {
namespace {

Voucher over(const Vouch& vouch, std::initializer_list<std::span<const std::byte>> pieces) {
  std::vector<std::byte> words;
  for (const auto piece : pieces) words.insert(words.end(), piece.begin(), piece.end());
  return vouch(words);
}

/// Without telling by its time where they differ.
bool same(const Voucher& one, std::span<const std::byte> other) {
  if (other.size() != one.size()) return false;
  std::byte difference{};
  for (std::size_t i = 0; i < one.size(); ++i) difference |= one.at(i) ^ other[i];
  return difference == std::byte{};
}

}  // namespace

Voucher voucher_of(const Vouch& vouch, const HostAddress& from, const HostAddress& to,
                   std::span<const std::byte> header, std::span<const std::byte> payload) {
  return over(vouch,
              {std::as_bytes(std::span{from}), std::as_bytes(std::span{to}), header, payload});
}

bool vouched(const Vouch& vouch, const HostAddress& from, const HostAddress& to,
             const Packet& packet) {
  return vouch &&
         same(voucher_of(vouch, from, to, packet.header_bytes, packet.payload), packet.tag);
}

Invitations::Ticket Invitations::of_period(const HostAddress& peer, ConnectionId connection,
                                           std::uint64_t period) const {
  std::array<std::byte, 2 * sizeof(std::uint64_t)> numbers{};
  put(numbers, 0, connection.value());
  put(numbers, sizeof(std::uint64_t), period);
  return over(vouch_, {secret_, std::as_bytes(std::span{peer}), numbers});
}

Invitations::Ticket Invitations::make(const HostAddress& peer, ConnectionId connection,
                                      TimePoint at) const {
  return of_period(peer, connection,
                   static_cast<std::uint64_t>(at.time_since_epoch() / limits::invitation_period));
}

bool Invitations::good(std::span<const std::byte> ticket, const HostAddress& peer,
                       ConnectionId connection, TimePoint at) const {
  return same(make(peer, connection, at), ticket) ||
         same(make(peer, connection, at - limits::invitation_period), ticket);
}

}  // namespace understudy::replication
