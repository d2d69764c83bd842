// A session on the backup: a thread that decides about an offer and then serves it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "replication/connection.hpp"
#include "replication/receiver_session.hpp"
#include "replication/replication_server.hpp"

namespace understudy::replication {

/// Its verbs may be called from any thread but its own; `ended` from that, too.
class BackupSession {
 public:
  struct Plan {
    SessionId id;
    Offer offer;
    std::string from_host;
    std::unique_ptr<Connection> connection;  ///< on which the offer came
    AcceptOffer accept;
    std::shared_ptr<BackupSession> predecessor;  ///< ended first, on the new thread; may be null
    std::function<void(const Error&)> refused;   ///< `accept` did; on the session's thread
    std::function<void()> gone;                  ///< the last word of the session's thread
  };

  explicit BackupSession(Plan plan);
  BackupSession(const BackupSession&) = delete;
  BackupSession& operator=(const BackupSession&) = delete;
  /// The session has been ended, or ends by itself; waits for its thread.
  ~BackupSession();

  [[nodiscard]] SessionId id() const { return plan_.id; }
  [[nodiscard]] const std::string& from_host() const { return plan_.from_host; }

  /// Goes on over another connection.
  void resume(std::unique_ptr<Connection> connection);

  /// As ReplicationServer::end_session.
  void end(const std::string& reason);
  void join();

  [[nodiscard]] bool ended() const;
  /// nullopt unless it is being served.
  [[nodiscard]] std::optional<ReceiverStatus> status() const;

 private:
  enum class Phase { deciding, serving, ended };

  void run();
  void end_predecessor();
  [[nodiscard]] Result<> begin();
  void serve();
  void refuse(const Error& why);
  void adopt(std::unique_ptr<Connection> connection);
  void tick();
  void set_ended();

  Plan plan_;
  asio::io_context io_{1};
  asio::steady_timer tick_timer_{io_};
  asio::steady_timer goodbye_timer_{io_};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_{Phase::deciding};
  std::optional<std::string> end_reason_;  ///< was told to end while deciding
  std::atomic<bool> end_waits_{};          ///< was told to end while serving
  std::unique_ptr<ReceiverSession> session_;

  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace understudy::replication
