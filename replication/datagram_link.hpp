// A Link over datagrams: a DatagramMachine, its thread and its timer.
//
// Datagrams come from the port's reader through an inbox, in bursts; frames leave inside `send`.
// While there is nothing to do the link asks to be the reader: a datagram then wakes its thread at
// once. It gives that back before it or its owner works for long. A payload is copied once on each
// side: sealed from the frame into the device's memory, and opened from there to the place that the
// owner gives. One that comes before its turn is opened where it lies and copied when its turn
// comes.
#pragma once

#include <memory>
#include <optional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "replication/connection.hpp"
#include "replication/connection_table.hpp"
#include "replication/datagram_machine.hpp"

namespace understudy::replication {

/// Not on any thread yet.
class DatagramConnection final : public Connection {
 public:
  DatagramConnection(DatagramPort& port, LinkSecurity security,
                     std::unique_ptr<ConnectionPlace> place);
  /// One that a link released.
  DatagramConnection(DatagramPort& port, std::unique_ptr<DatagramMachine> machine,
                     std::unique_ptr<ConnectionPlace> place);
  ~DatagramConnection() override;

  [[nodiscard]] std::shared_ptr<Link> start(asio::io_context& io, LinkEvents& events) override;
  [[nodiscard]] bool vouched() const override { return place_->vouched(); }
  /// "02:00:00:00:00:01".
  [[nodiscard]] std::string peer() const override;

 private:
  DatagramPort& port_;
  LinkSecurity security_;
  std::unique_ptr<ConnectionPlace> place_;
  std::unique_ptr<DatagramMachine> machine_;
};

/// Runs on its io_context, which one thread runs. Alive, once started, until closed or down: the
/// pending timer owns it.
class DatagramLink final : public Link, public std::enable_shared_from_this<DatagramLink> {
 public:
  /// `events` must outlive the link's end. A machine that could not begin: the link goes down with
  /// that reason.
  [[nodiscard]] static std::shared_ptr<DatagramLink> start(
      asio::io_context& io, LinkEvents& events, DatagramPort& port,
      Result<std::unique_ptr<DatagramMachine>> machine, std::unique_ptr<ConnectionPlace> place);
  ~DatagramLink() override;
  DatagramLink(const DatagramLink&) = delete;
  DatagramLink& operator=(const DatagramLink&) = delete;

  [[nodiscard]] bool send(std::span<const std::byte> frame) override;
  [[nodiscard]] bool send_copy(std::span<const std::byte> frame) override;
  void finish() override;
  void close() override;
  [[nodiscard]] std::unique_ptr<Connection> release() override;
  [[nodiscard]] LinkCounters counters() override;

 private:
  /// Where frames go that nobody wants any more.
  class Discard;
  using Frame = DatagramMachine::Frame;

  DatagramLink(asio::io_context& io, LinkEvents& events, DatagramPort& port,
               std::unique_ptr<DatagramMachine> machine, std::unique_ptr<ConnectionPlace> place);

  [[nodiscard]] bool accepts() const;
  void sent();
  /// To whom frames go.
  [[nodiscard]] LinkEvents& owner();
  void turn_soon();
  void turn();
  void deliver(Result<std::optional<Frame>> frame);
  void deliver_held();
  void absorb();
  void settle_turn();
  void open_bell();
  void listen();
  void on_bell();
  void read();
  void stop_listening();
  void arm();
  void on_timer();
  void leave();
  void break_down(Error reason);

  asio::io_context& io_;
  asio::steady_timer timer_;
  std::optional<TimePoint> armed_;
  asio::posix::stream_descriptor bell_;  ///< an epoll, rung by the port while that is lent to us
  bool lent_{};
  bool bell_awaited_{};
  LinkEvents& events_;
  std::unique_ptr<Discard> discard_;  ///< while finishing
  DatagramPort& port_;
  std::unique_ptr<DatagramMachine> machine_;
  std::unique_ptr<ConnectionPlace> place_;
  bool closed_{};
  bool refused_{};  ///< a send: on_writable is owed
  std::optional<TimePoint> finishing_;
  std::optional<TimePoint> delivering_;
  std::optional<Error> broken_;  ///< noticed where nothing may be called
  LinkCounters counters_{};
};

}  // namespace understudy::replication
