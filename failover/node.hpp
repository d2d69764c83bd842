// The daemon of one host: joins the cluster to the guests, the replication server and the control
// API. Everything decides on one thread, that of the io_context; engines and sessions have threads
// of their own.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/settings.hpp"
#include "failover/checkpoint_files.hpp"
#include "failover/clones.hpp"
#include "failover/corosync_membership.hpp"
#include "failover/drain.hpp"
#include "failover/drills.hpp"
#include "failover/fencer.hpp"
#include "failover/guest_host.hpp"
#include "failover/link_tests.hpp"
#include "failover/monitoring/availability_book.hpp"
#include "failover/monitoring/http_server.hpp"
#include "failover/record_store.hpp"
#include "failover/reporter.hpp"
#include "failover/rewinds.hpp"

namespace understudy::failover {

class Node final : public MembershipEvents {
 public:
  /// Listens for replication and control, then joins the cluster. Errors (a port in use, another
  /// daemon on the socket) leave nothing behind.
  /// The first transport is used for protection; there is one at least.
  using Transports = std::vector<std::shared_ptr<replication::Transport>>;
  [[nodiscard]] static Result<std::unique_ptr<Node>> start(boost::asio::io_context& io,
                                                           Settings settings,
                                                           Transports transports);
  ~Node() override;  // NOLINT(bugprone-exception-escape): see node.cpp
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] const Settings& settings() const { return settings_; }

  /// Closes all output, ends all guests and leaves the cluster, so that backups take over.
  /// Idempotent.
  void stop();

  void on_view(const View& view) override;
  void on_message(NodeId sender, std::span<const std::byte> message) override;
  void on_lost(const Error& reason) override;

 private:
  /// What another host said of a guest that is active there.
  struct Heard {
    control::Guest guest;
    TimePoint at;
  };

  Node(boost::asio::io_context& io, Settings settings, RecordStore store, Transports transports);

  [[nodiscard]] Result<> listen();
  [[nodiscard]] Result<> listen_http();
  [[nodiscard]] GuestHost& guest(const std::string& name);
  [[nodiscard]] std::vector<GuestHost*> guests() const;
  void send(const peer::Message& message);
  void send(const RecordBook::Messages& messages);
  /// Whether the disk holds what the book has accepted.
  [[nodiscard]] bool remember();
  void on_asked(NodeId asker, const peer::SwitchOverRequest& request);
  void decide_all();
  void tick();
  void summarise();
  void tell_others();
  void hear(const peer::Summary& summary);
  /// What its active host last said of a guest; nullptr: nothing.
  [[nodiscard]] const control::Guest* heard_of(const std::string& name) const;
  void account();
  void report_changes();

  void on_call(const std::shared_ptr<ControlCall>& call);
  void on_drain_call(const std::shared_ptr<ControlCall>& call);
  void on_guest_call(const std::shared_ptr<ControlCall>& call);
  void on_confirm_dead(const std::shared_ptr<ControlCall>& call);
  [[nodiscard]] control::Status status() const;
  [[nodiscard]] control::Guest report(const GuestHost& guest) const;
  [[nodiscard]] HttpAnswer on_http(std::string_view path);
  [[nodiscard]] bool is_stale(const control::Guest& heard) const;
  void add_quorum(control::Status& status) const;
  void add_warnings(control::Status& status) const;

  boost::asio::io_context& io_;
  const Settings settings_;
  RecordStore store_;
  std::string memory_trouble_;
  RecordBook book_;
  Fencer fencer_;
  const Transports transports_;
  GuestHost::Daemon daemon_;
  boost::asio::steady_timer timer_;
  TimePoint reminded_;
  TimePoint summarised_;
  std::string cluster_trouble_{"not yet connected"};
  std::map<std::string, Heard> heard_;
  AvailabilityBook availability_;
  Reporter reporter_;
  Drills drills_;
  Clones clones_;
  CheckpointFiles files_;
  Rewinds rewinds_;
  Drain drain_;
  LinkTests link_tests_;
  TimePoint accounted_;
  std::optional<TimePoint> quorate_;  ///< when there was a quorum last
  bool stopped_{};

  mutable std::mutex mutex_;  ///< for the map: sessions look guests up on their threads
  std::map<std::string, std::unique_ptr<GuestHost>> guests_;

  std::unique_ptr<replication::ReplicationServer> replication_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<CorosyncMembership> membership_;
};

}  // namespace understudy::failover
