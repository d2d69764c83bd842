// The host's watchdog (softdog, or hardware): it resets the host unless it is petted.
//
// A daemon whose deciding thread stands still says nothing to the cluster, while Corosync beside it
// may go on: nobody would take its guests over, and their output stays closed. With a watchdog the
// host is reset after the timeout instead, and the others see it go. It is petted by that very
// thread, and disarmed only by a clean stop: a daemon that crashes takes its host with it, unless
// it is started again in time. Linux's Documentation/watchdog/watchdog-api.rst.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::failover {

/// The io_context's thread.
class Watchdog {
 public:
  /// Armed from then on. `io` if the device cannot be opened: another program may have it. One
  /// that does not let its timeout be set keeps its own, with a warning.
  [[nodiscard]] static Result<std::unique_ptr<Watchdog>> start(boost::asio::io_context& io,
                                                               const std::string& device,
                                                               int timeout_s);
  ~Watchdog() = default;  ///< without `disarm`, the device goes on counting
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// The host may go on without us. A device that was loaded with `nowayout` does not hear of it.
  void disarm();

 private:
  Watchdog(boost::asio::io_context& io, std::string device, UniqueFd fd);
  void set_timeout(int timeout_s);
  void pet();
  void write(char word);

  const std::string device_;
  UniqueFd fd_;
  boost::asio::steady_timer timer_;
  bool complained_{};
};

}  // namespace understudy::failover
