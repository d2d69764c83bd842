// Hears a new connection's hello, after its handshake if there is one, and passes the connection
// on, or refuses with a sentence.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "replication/connection.hpp"
#include "replication/messages.pb.h"
#include "replication/refusal_log.hpp"

namespace understudy::replication {

/// Runs on the io_context that it was started with and lives until it has passed the connection on,
/// or the peer has gone, or limits::link_connect is over. Every connection that is not passed on
/// leaves one line in the log; but one that was closed without a word (somebody looked whether the
/// port is open) only on debug level.
class Greeter final : public LinkEvents, public std::enable_shared_from_this<Greeter> {
 public:
  using Take = std::function<void(std::unique_ptr<Connection>)>;
  struct Host {
    std::string cluster;
    std::string name;
    RefusalLog& refusals;  ///< outlives the greeter
    /// Who goes on with this connection? An error is shown to the peer.
    std::function<Result<Take>(SessionId session, const Hello& hello)> decide;
    std::function<void()> gone;
  };

  static void start(asio::io_context& io, std::unique_ptr<Connection> connection, Host host);

  std::span<std::byte> place(const FrameHeader& header) override;
  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override;
  void on_writable() override {}
  void on_down(Error reason) override;

 private:
  Greeter(asio::io_context& io, std::string peer, Host host);

  [[nodiscard]] Result<Take> hear(const FrameHeader& header,
                                  std::span<const std::byte> payload) const;
  void refuse(SessionId session, const Error& why);
  void give_up();
  void note(const std::string& why);
  void leave();

  Host host_;
  std::string peer_;
  asio::steady_timer patience_;
  std::shared_ptr<Link> link_;
  std::vector<std::byte> payload_;
  bool noted_{};
};

}  // namespace understudy::replication
