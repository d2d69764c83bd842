// A conversation with one QEMU over its monitor socket. Blocking, with a limit on every wait. One
// thread at a time.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "config/unique_fd.hpp"
#include "hypervisor/qmp_codec.hpp"

namespace understudy::hypervisor {

class QmpClient {
 public:
  /// A command under way. Replies come in the order of the commands.
  using Ticket = std::uint64_t;

  /// Waits for the greeting and leaves capability negotiation.
  [[nodiscard]] static Result<QmpClient> open(UniqueFd socket, Duration patience);

  /// Events are handed to this function from inside any other call here.
  void on_event(std::function<void(const qmp::Event&)> handler) { handler_ = std::move(handler); }

  struct Command {
    std::string_view name;  ///< outlives the client
    boost::json::object arguments{};
    bool operator==(const Command&) const = default;
  };
  /// QEMU runs one after another.
  [[nodiscard]] Result<Ticket> send(const Command& command);

  /// Sends all of a command but its end: QEMU reads a byte at a time, a command of a hundred in a
  /// millisecond. When the next one is the same, only the end is left to be sent; any other makes
  /// QEMU refuse this one first.
  [[nodiscard]] Result<> prepare(Command command);

  /// The reply to a ticket; tickets must be awaited in order, or skipped: replies to earlier ones
  /// that nobody awaited are dropped, unless they are refusals, which are errors.
  [[nodiscard]] Result<boost::json::value> await(Ticket ticket, Duration patience);

  /// Sends it and awaits its reply.
  [[nodiscard]] Result<boost::json::value> execute(const Command& command);
  /// The text that a human monitor command prints.
  [[nodiscard]] Result<std::string> human(std::string_view command_line);

  /// Handles events that have arrived, without waiting.
  [[nodiscard]] Result<> poll();

  /// Waits for one more event (or an unawaited reply), at most until `deadline`.
  [[nodiscard]] Result<> wait_event(TimePoint deadline);

  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] const std::string& version() const { return version_; }

 private:
  explicit QmpClient(UniqueFd socket) : socket_{std::move(socket)} {}
  [[nodiscard]] Result<qmp::Message> next(TimePoint deadline);
  [[nodiscard]] Result<> fill(TimePoint deadline);
  [[nodiscard]] Result<> withdraw();

  UniqueFd socket_;
  std::string buffer_;
  std::size_t parsed_{};
  Ticket last_sent_{};
  std::optional<Command> prepared_;  ///< its ticket is last_sent_
  Ticket withdrawn_{};
  std::string version_;
  std::function<void(const qmp::Event&)> handler_;
};

}  // namespace understudy::hypervisor
