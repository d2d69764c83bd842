// Hears a new connection's handshake, if there is one, and its hello; passes the connection on, or
// refuses with a sentence.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "replication/asio_tcp_link.hpp"
#include "replication/messages.pb.h"
#include "replication/refusal_log.hpp"

namespace understudy::replication {

/// Runs on its socket's io_context and lives until it has passed the connection on, or the peer has
/// gone, or limits::link_connect is over. Every connection that is not passed on leaves one line in
/// the log; but one that was closed without a word (somebody looked whether the port is open) only
/// on debug level.
class TcpGreeter final : public LinkEvents, public std::enable_shared_from_this<TcpGreeter> {
 public:
  using Take = std::function<void(TcpHandover connection)>;
  struct Host {
    std::string cluster;
    std::string name;
    std::shared_ptr<const Credentials> credentials;  ///< null: in clear text
    RefusalLog& refusals;                            ///< outlives the greeter
    /// Who goes on with this connection? An error is shown to the peer.
    std::function<Result<Take>(SessionId session, const Hello& hello)> decide;
    std::function<void()> gone;
  };

  static void start(asio::ip::tcp::socket socket, Host host);

  /// For the log: "192.0.2.7:40112".
  [[nodiscard]] static std::string peer_name(const asio::ip::tcp::socket& socket);

  std::span<std::byte> place(const FrameHeader& header) override;
  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override;
  void on_writable() override {}
  void on_down(Error reason) override;

 private:
  TcpGreeter(asio::ip::tcp::socket& socket, Host host);

  [[nodiscard]] Result<Take> hear(const FrameHeader& header,
                                  std::span<const std::byte> payload) const;
  void refuse(SessionId session, const Error& why);
  void give_up();
  void note(const std::string& why);
  void leave();

  Host host_;
  std::string peer_;
  asio::steady_timer patience_;
  std::shared_ptr<AsioTcpLink> link_;
  std::vector<std::byte> payload_;
  bool noted_{};
};

}  // namespace understudy::replication
