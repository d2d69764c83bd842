// Which connections a host has over one port: whose datagram is this? And the last words of those
// that it had, for peers that did not hear them.
#pragma once

#include <compare>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "replication/datagram_inbox.hpp"
#include "replication/datagram_machine.hpp"

namespace understudy::replication {

struct ConnectionKey {
  HostAddress peer;
  ConnectionId id;
  HandshakeSide side;  ///< ours
  friend auto operator<=>(const ConnectionKey&, const ConnectionKey&) = default;
};

class ConnectionTable;

/// Where a connection comes from. Each kind has so many places while half open.
enum class Opening : std::uint8_t {
  ours,       ///< as many as we like
  vouched,    ///< its sender has the key
  unvouched,  ///< by anybody
};

/// A connection's place in the table; given up when destroyed. Any thread.
class ConnectionPlace {
 public:
  ConnectionPlace(ConnectionTable& table, const ConnectionKey& key, Opening opening,
                  std::shared_ptr<DatagramInbox> inbox)
      : table_{table}, key_{key}, opening_{opening}, inbox_{std::move(inbox)} {}
  ~ConnectionPlace();
  ConnectionPlace(const ConnectionPlace&) = delete;
  ConnectionPlace& operator=(const ConnectionPlace&) = delete;

  [[nodiscard]] const ConnectionKey& key() const { return key_; }
  [[nodiscard]] bool vouched() const { return opening_ == Opening::vouched; }
  [[nodiscard]] DatagramInbox& inbox() { return *inbox_; }
  /// How many segments the peer may send ahead: all connections share what the port can take.
  [[nodiscard]] std::size_t room() const;
  /// Somebody has taken the connection: it does not count as half open any more.
  void settle();
  /// To be said again to a peer that goes on.
  void set_farewell(DatagramMachine::Farewell farewell) { farewell_ = std::move(farewell); }

 private:
  ConnectionTable& table_;
  ConnectionKey key_;
  Opening opening_;
  std::shared_ptr<DatagramInbox> inbox_;
  DatagramMachine::Farewell farewell_;
};

/// Thread-safe. Outlives its places.
class ConnectionTable {
 public:
  /// `room`: of the port. `unvouched`: so many of those may be half open.
  ConnectionTable(std::size_t room, std::size_t unvouched) : room_{room}, unvouched_{unvouched} {}

  /// nullptr: there is one already, or too many of its kind are half open.
  [[nodiscard]] std::unique_ptr<ConnectionPlace> open(const ConnectionKey& key, Opening opening);
  [[nodiscard]] std::shared_ptr<DatagramInbox> find(const ConnectionKey& key) const;
  [[nodiscard]] std::optional<DatagramMachine::Farewell> farewell(const ConnectionKey& key) const;

 private:
  friend class ConnectionPlace;
  struct Entry {
    std::shared_ptr<DatagramInbox> inbox;
    Opening opening;
    bool half_open;
  };
  [[nodiscard]] std::size_t& half_open(Opening opening) {
    return half_open_.at(static_cast<std::size_t>(opening));
  }
  [[nodiscard]] std::size_t most_half_open(Opening opening) const;
  void settle(const ConnectionKey& key);
  void close(const ConnectionKey& key, DatagramMachine::Farewell farewell);
  [[nodiscard]] std::size_t room() const;

  const std::size_t room_;
  const std::size_t unvouched_;
  mutable std::mutex mutex_;
  std::map<ConnectionKey, Entry> entries_;
  std::array<std::size_t, 3> half_open_{};  ///< by Opening
  std::deque<std::pair<ConnectionKey, DatagramMachine::Farewell>> farewells_;
};

}  // namespace understudy::replication
