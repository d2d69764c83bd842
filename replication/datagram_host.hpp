// This host on a network of datagrams: a Transport over one DatagramPort.
//
// Peers are found by name: a question to every host, repeated until the one that bears the name
// answers. Where it answered last it is asked first. Hosts with a key then vouch for themselves
// (vouching.hpp), both ways, before one gives a place to the other; what is said without the key
// gets few places, so that two hosts with different keys learn it. Who is at the other end is the
// handshake's business all the same.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "replication/connection.hpp"
#include "replication/connection_table.hpp"
#include "replication/datagram_machine.hpp"
#include "replication/line_budget.hpp"
#include "replication/vouching.hpp"

namespace understudy::replication {

/// Outlives all that it has made. Thread-safe; what comes is sorted by whoever reads the port.
class DatagramHost final : public Transport, private DatagramEvents {
 public:
  struct Plan {
    std::unique_ptr<DatagramPort> port;
    std::string name;     ///< of the transport: "dpdk"
    std::string cluster;  ///< questions of another one are not answered
    std::string host;     ///< this one
    LinkSecurity security;
  };

  explicit DatagramHost(Plan plan);
  ~DatagramHost() override;
  DatagramHost(const DatagramHost&) = delete;
  DatagramHost& operator=(const DatagramHost&) = delete;

  [[nodiscard]] std::string_view name() const override { return plan_.name; }

  [[nodiscard]] std::string where(const std::string& host,
                                  const std::string& /*replication_address*/) const override {
    return host;
  }

  /// One listener at a time; another one is a `conflict`. `at` is only remembered: a network of
  /// datagrams has no ports.
  [[nodiscard]] Result<std::unique_ptr<Listener>> listen(asio::io_context& io, const Endpoint& at,
                                                         const std::string& this_host,
                                                         Listener::Arrived arrived) override;

  [[nodiscard]] std::unique_ptr<Dialer> dialer(asio::io_context& io, const Endpoint& peer,
                                               const std::string& to_host) override;

  [[nodiscard]] DatagramPort& port() { return *plan_.port; }

 private:
  class HostListener;
  class HostDialer;
  struct Answer {
    HostAddress from;
    PacketKind kind;
    bool vouched;
    Invitations::Ticket ticket;
  };
  /// Called by whoever reads the port; only hands over.
  using Heard = std::function<void(const Answer&)>;
  struct Question {
    Heard heard;
    bool doubted;  ///< somebody without the key has answered
  };

  void on_datagram(const HostAddress& from, DatagramPointer datagram) override;
  void on_carrier(bool up) override;
  void on_question(const HostAddress& from, const Packet& packet);
  void on_knock(const HostAddress& from, const Packet& packet);
  void on_answer(const HostAddress& from, const Packet& packet);
  void on_stranger(const ConnectionKey& key, DatagramPointer datagram, const Packet& packet);
  void answer_forgotten(const ConnectionKey& key, const PacketHeader& header);
  [[nodiscard]] bool offer(const ConnectionKey& key, Opening opening, DatagramPointer datagram);
  [[nodiscard]] bool keyed() const { return plan_.security.vouch != nullptr; }
  [[nodiscard]] bool shows_key(const HostAddress& from, const Packet& packet) const;
  void say_vouched(const HostAddress& to, PacketHeader header, std::span<const std::byte> payload);
  void say(const HostAddress& to, PacketHeader header, std::string_view payload);

  void expect(ConnectionId id, Heard heard);
  void ask(ConnectionId id, const std::string& host, const HostAddress& where);
  void knock(ConnectionId id, const Answer& invitation);
  void forget_question(ConnectionId id);
  [[nodiscard]] std::optional<HostAddress> address_of(const std::string& host) const;
  void remember(const std::string& host, const HostAddress& address);
  [[nodiscard]] std::unique_ptr<Connection> connection(std::unique_ptr<ConnectionPlace> place);

  const Plan plan_;
  Invitations invitations_;
  ConnectionTable table_;
  LineBudget gone_answers_{limits::gone_answers, limits::gone_period};  ///< of the port's reader

  mutable std::mutex mutex_;
  HostListener* listener_{};
  std::map<ConnectionId, Question> questions_;
  std::map<std::string, HostAddress, std::less<>> addresses_;
};

}  // namespace understudy::replication
