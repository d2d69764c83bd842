// Accepts the clients of a stream socket, one after another, until it is stopped.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/steady_timer.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::failover {

/// Shared with its handlers under way, which may run after the owner is gone. The io_context's
/// thread only.
template <class Protocol>
class AcceptLoop : public std::enable_shared_from_this<AcceptLoop<Protocol>> {
 public:
  using Acceptor = typename Protocol::acceptor;
  using Socket = typename Protocol::socket;
  using Admit = std::function<void(Socket)>;

  /// `event`: under what name the log tells of trouble.
  AcceptLoop(Acceptor acceptor, std::string_view event, Admit admit)
      : acceptor_{std::move(acceptor)},
        pause_{acceptor_.get_executor()},
        event_{event},
        admit_{std::move(admit)} {}

  void accept() {
    acceptor_.async_accept(
        [self = this->shared_from_this()](boost::system::error_code error, Socket socket) {
          if (!self->open()) return;
          if (error) return self->accept_later(error);
          self->admit_(std::move(socket));
          self->accept();
        });
  }

  [[nodiscard]] bool open() const { return acceptor_.is_open(); }

  void stop() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

 private:
  /// Out of descriptors, most likely: some will be free again.
  void accept_later(boost::system::error_code error) {
    log::warning(event_, {log::kv("reason", error.message())});
    pause_.expires_after(limits::accept_retry);
    pause_.async_wait([self = this->shared_from_this()](boost::system::error_code cancelled) {
      if (!cancelled && self->open()) self->accept();
    });
  }

  Acceptor acceptor_;
  boost::asio::steady_timer pause_;
  const std::string event_;
  const Admit admit_;
};

}  // namespace understudy::failover
