// Empties a host for maintenance, and keeps it empty: what runs here moves to its backups, replicas
// here are given up so that they are made elsewhere, and nothing new is taken. Remembered in
// state_dir until `undrain`, so that a host may be restarted meanwhile. The io_context's thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/durable_file.hpp"
#include "config/settings.hpp"
#include "failover/control_server.hpp"
#include "failover/guest_host.hpp"

namespace understudy::failover {

class Drain {
 public:
  using Guests = std::function<std::vector<GuestHost*>()>;
  using EndSession = std::function<void(const std::string& guest, const std::string& why)>;

  Drain(const Settings& settings, Guests guests, EndSession end_session);

  /// Answers when nothing is here any more, or says what stays and why. The host stays drained.
  void begin(std::shared_ptr<ControlCall> call);
  void end(const std::shared_ptr<ControlCall>& call);
  /// Moves on with what is under way. Often.
  void tick();

  /// Any thread.
  [[nodiscard]] bool drained() const { return drained_; }
  /// Why nothing is taken here. Any thread.
  [[nodiscard]] Error refusal() const;

 private:
  [[nodiscard]] Result<> remember(bool drained);
  /// What is still here, and asks it to leave. One line each.
  [[nodiscard]] std::vector<std::string> push_out();
  void move(GuestHost& guest, const std::string& name);
  void answer(const std::vector<std::string>& left);

  const std::string host_;
  const Guests guests_;
  const EndSession end_session_;
  DurableFile file_;
  std::atomic<bool> drained_;
  std::shared_ptr<ControlCall> call_;
  std::size_t left_at_first_{};
  TimePoint patience_ends_;
  std::string moving_;                           ///< its switchover is under way; empty: none's
  std::map<std::string, std::string> troubles_;  ///< why a guest could not be moved
};

}  // namespace understudy::failover
