// Runs a ReceiverMachine over any Link: checks, acknowledges, then applies.
//
// The order for an epoch is: its pages are checked as they come, its seal is checked, its commit is
// handed to the link, it is applied. A link that breaks is followed by another (`adopt`), on which
// the primary goes on; what is staged stays.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "config/mapping.hpp"
#include "replication/link.hpp"
#include "replication/receiver_machine.hpp"

namespace understudy::replication {

/// One thread, its links' own, runs everything but `status`.
class ReceiverSession final : public LinkEvents {
 public:
  struct Plan {
    SessionId session;
    std::vector<std::uint64_t> block_bytes;
    Mapping staging;
    std::shared_ptr<ReplicaEvents> replica;
    std::function<TimePoint()> clock;
    /// Whether an `end` waits for what the session's thread does now.
    std::function<bool()> end_waits = [] { return false; };
    /// After ReplicaEvents::on_end, once.
    std::function<void()> ended;
    /// After `ended`: the peer has closed the last link, too, or there was none.
    std::function<void()> gone;
  };

  explicit ReceiverSession(Plan plan);

  /// A link on which the primary has said hello; it gets its answer. Replaces the link before it.
  void adopt(std::shared_ptr<Link> link);

  /// Looks for silence: it cuts the link, and much more of it ends the session. Call it every
  /// limits::link_tick or so.
  void tick();

  /// Tells the peer, if it listens, and the replica. Idempotent.
  void end(const Error& reason);

  /// Any thread.
  [[nodiscard]] ReceiverStatus status() const;

  std::span<std::byte> place(const FrameHeader& header) override;
  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override;
  void on_writable() override {}
  void on_down(Error reason) override;

 private:
  using Machine = ReceiverMachine;
  void handle(const Machine::Ignored& nothing);
  void handle(const Machine::SyncPages& pages);
  void handle(const Machine::Pages& pages);
  void handle(const Machine::SyncDisk& contents);
  void handle(const Machine::Disk& writes);
  void handle(const Machine::Sealed& sealed);
  void handle(const Machine::Asked& asked);
  void handle(const Machine::Input& input);
  void handle(const Machine::Pinged& pinged);
  void handle(const Machine::Left& left);
  void handle(const Machine::Violation& violation);

  void say(std::span<const std::byte> frame);
  [[nodiscard]] Reply answer(const Request& request);
  void cut(const Error& reason);
  void turn_away(Link& link) const;
  void give_back_staging(std::size_t used) const;

  Plan plan_;
  Machine machine_;
  std::shared_ptr<Link> link_;
  std::vector<std::byte> last_reply_;  ///< said again on a new link: the old one may have lost it
  TimePoint heard_;
  bool over_{};

  mutable std::mutex mutex_;
  ReceiverStatus status_{};
};

}  // namespace understudy::replication
