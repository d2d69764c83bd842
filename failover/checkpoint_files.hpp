// The commands about checkpoint files: a replica's moment is written to one, and a guest that runs
// nowhere is started from one. One at a time on a host, on a thread of its own. Runs on the
// io_context's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "config/settings.hpp"
#include "failover/control_server.hpp"
#include "failover/export_job.hpp"
#include "failover/guest_host.hpp"

namespace understudy::failover {

class CheckpointFiles {
 public:
  /// What the active host last said of a guest; nullptr: nothing.
  using Seen = std::function<const control::Guest*(const std::string& guest)>;

  CheckpointFiles(boost::asio::io_context& io, const Settings& settings, Seen seen);
  ~CheckpointFiles();

  void begin_export(const std::shared_ptr<ControlCall>& call, GuestHost& guest);
  /// First the whole file is read: nothing is touched if it is not as it was written.
  void begin_import(const std::shared_ptr<ControlCall>& call, GuestHost& guest);
  /// Often: ends an export that slows the real guest, and what nobody waits for any more. An
  /// import that has begun to overwrite goes on.
  void tick();
  /// Ends what is under way. Idempotent.
  void stop();

 private:
  class Job;
  using Work = std::function<Result<>(const checkpointer::CheckpointProgress&)>;
  [[nodiscard]] bool refuse_second(const std::shared_ptr<ControlCall>& call) const;
  /// `finished` on the io_context's thread.
  void start(const std::shared_ptr<ControlCall>& call, const std::string& guest, Work work,
             std::function<void(const Result<>&)> finished);

  boost::asio::io_context& io_;
  const Settings& settings_;
  const Seen seen_;
  bool preparing_{};
  bool stopped_{};
  std::uint32_t max_commit_ms_{};  ///< of the guest whose export is under way
  std::unique_ptr<Job> job_;
};

/// What an import overwrites and what it is worth, for the operator. `about` is of this guest.
[[nodiscard]] std::string import_stakes(const config::Guest& guest,
                                        const checkpointer::Checkpoint& about,
                                        const std::string& path);

}  // namespace understudy::failover
