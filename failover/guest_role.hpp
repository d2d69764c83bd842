// What this host does about one guest: decides, from the record and what is here, who acts and how.
// Pure; time is a parameter.
//
// Every change that could let a second host run the guest goes the same way: propose a new record,
// wait until it is decided, then act. Whatever happens (an event, a view, a decision, a tick),
// `decide` compares what should be with what is and says what to do next; saying it twice is
// harmless.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "failover/record.hpp"
#include "failover/reprotection.hpp"

namespace understudy::failover {

enum class Output : std::uint8_t { closed, holding, open };

/// What is to be done. The shell reports the outcome of those that have one.
namespace act {
struct Propose {
  Record next;
};
struct StartGuest {};  ///< then started()
struct StopGuest {
  std::string why;
};  ///< kills guest, standby and replica; then stopped()
struct EndSession {
  std::string why;
};  ///< the replica's: at once, before any later action
/// `open`: the record names no backup, so output opens with the promotion; else it is held until it
/// says so. Then promoted().
struct Promote {
  Output output;
};
/// Pauses the guest for good and waits until the backup holds the epoch that ends there; then
/// handed_over().
struct HandOver {};
struct Protect {
  NodeId backup;
  Term term;
};  ///< then protection_lost() or replica_ready()
struct EndProtection {
  std::string why;
};  ///< then protection_ended()
struct Suspend {};
struct Resume {};
struct SetOutput {
  Output output;
};
struct Answer {
  Result<std::string> result;
};  ///< to the operator whose request this was
}  // namespace act
using Action = std::variant<act::Propose, act::StartGuest, act::StopGuest, act::EndSession,
                            act::Promote, act::HandOver, act::Protect, act::EndProtection,
                            act::Suspend, act::Resume, act::SetOutput, act::Answer>;

/// What is here of the guest.
enum class Presence : std::uint8_t { none, starting, running, standby, promoting, stopping };

/// What this host's configuration says about a guest.
struct GuestPolicy {
  std::vector<NodeId> keep_on;  ///< in order of preference; empty: as recorded, or on request
  bool automatic{true};         ///< what has been protected is protected again by itself
  bool autostart{};
  Reprotection::Unfit unfit;
};

class GuestRole {
 public:
  GuestRole(std::string guest, NodeId self, GuestPolicy policy = {})
      : guest_{std::move(guest)},
        self_{self},
        policy_{std::move(policy)},
        reprotection_{policy_.unfit} {}

  using Actions = std::vector<Action>;

  /// Looks at everything anew. Call it after each event below and at least every limits::role_tick.
  [[nodiscard]] Actions decide(const RecordBook& book, TimePoint now);

  // --- requests of the operator; an error is the answer, otherwise an Answer follows
  [[nodiscard]] Result<> start(const RecordBook& book);
  /// Whether it would be refused.
  [[nodiscard]] Result<> check_start(const RecordBook& book) const;
  [[nodiscard]] Result<> stop(const RecordBook& book);
  [[nodiscard]] Result<> protect(const RecordBook& book, NodeId backup);
  [[nodiscard]] Result<> unprotect(const RecordBook& book);
  [[nodiscard]] Result<> switch_over(const RecordBook& book);

  // --- outcomes and what happens by itself
  void started(Result<> outcome);
  void promoted(Result<> outcome);
  void handed_over(Result<> outcome);  ///< the guest is paused, or runs on after an error
  void stopped();
  void guest_failed(const std::string& why);  ///< QEMU died or the guest panicked
  void guest_powered_off();                   ///< by itself: nobody shall run it on
  void replica_ready();                       ///< we are active: the backup holds a whole epoch
  void protection_lost(const Error& why);
  void protection_ended();  ///< EndProtection is done: the engine touches output no more
  void link(bool up, TimePoint now);
  void standby_made(Term offered);  ///< a replica is being filled here
  void standby_ready();
  void standby_lost(TimePoint now);  ///< its session has ended; the replica is still here

  /// Another guest is being copied from here: full copies take turns, but for those asked for.
  void others_copy(bool copying) { others_copy_ = copying; }

  /// This host is to stay empty.
  void drained(bool drained) { drained_ = drained; }

  // --- for the status
  [[nodiscard]] Presence presence() const { return presence_; }
  /// The guest was lost here, or could not be started; detail() says how.
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool suspended() const { return suspended_; }
  [[nodiscard]] bool protecting() const { return protection_ != Protection::none; }
  /// The first copy to a backup is under way, or not recorded yet.
  [[nodiscard]] bool copying() const { return protecting() && protection_ != Protection::recorded; }
  /// Where the guest may be protected again by itself; nothing while it is, or is not to be.
  [[nodiscard]] std::vector<Reprotection::Outlook> outlook(const RecordBook& book,
                                                           TimePoint now) const;
  [[nodiscard]] NodeId protection_target() const { return target_; }
  [[nodiscard]] const std::string& detail() const { return detail_; }

 private:
  enum class Protection : std::uint8_t { none, synchronising, ready, recorded };
  enum class Kind : std::uint8_t { start, stop, protect, unprotect, switch_over };
  /// Of a guest that is to run on its backup: its last epoch is being committed; it is, and the
  /// guest paused until the record says who runs it.
  enum class HandOver : std::uint8_t { none, under_way, complete };
  struct Request {
    Kind kind;
    NodeId backup{nobody};
    Term term{};  ///< of the record that shall grant it, once proposed
    bool begun{};
    bool by_itself{};  ///< nobody waits for an answer
  };

  struct Scene;
  void await_agreement(TimePoint now, Actions& actions);
  void without_quorum(Actions& actions);
  void as_active(const Scene& scene, Actions& actions);
  void take_over(const Scene& scene, Actions& actions);
  void run_active(const Scene& scene, Actions& actions);
  void run_protected(const Scene& scene, Actions& actions);
  void run_alone(const Scene& scene, Actions& actions);
  void end_lost_protection(const Scene& scene, const Error& why, Actions& actions);
  [[nodiscard]] std::optional<Error> why_gone(const Scene& scene) const;
  void protect_again(const Scene& scene, Actions& actions);
  void begin_protection(const Scene& scene, NodeId backup, Actions& actions);
  void start_by_itself(const Scene& scene);
  void resume_unless_handed_over(const Scene& scene, Actions& actions);
  [[nodiscard]] bool may_switch_over(const Scene& scene) const;
  void await_successor(const Scene& scene, Actions& actions);
  void give_up_guest(const Scene& scene, Actions& actions);
  void as_other(const Scene& scene, Actions& actions);
  void stand_by(const Scene& scene, Actions& actions);
  void pursue_request(const Scene& scene, Actions& actions);
  void pursue_start(const Scene& scene, Actions& actions);
  void pursue_stop(const Scene& scene, Actions& actions);
  void pursue_protect(const Scene& scene, Actions& actions);
  void pursue_unprotect(const Scene& scene, Actions& actions);
  void pursue_switch_over(const Scene& scene, Actions& actions);
  void propose(const Scene& scene, NodeId active, NodeId backup, const std::string& why,
               Actions& actions);
  void propose(const Scene& scene, Record next, const std::string& why, Actions& actions);
  [[nodiscard]] std::vector<NodeId> wish(const Record& record, NodeId backup) const;
  void set_output(Output output, Actions& actions);
  void answer(Result<std::string> result, Actions& actions);
  void end_protection(const std::string& why, Actions& actions);
  void remove(const std::string& why, Actions& actions);
  [[nodiscard]] bool link_is_lost(const Scene& scene) const;
  [[nodiscard]] bool may_be_interrupted() const;
  void take(Request request);
  [[nodiscard]] Result<> accept_request(const RecordBook& book) const;
  void forget_protection();
  void now_empty();
  [[nodiscard]] Result<> need_active(const RecordBook& book) const;

  const std::string guest_;
  const NodeId self_;
  const GuestPolicy policy_;
  Reprotection reprotection_;
  bool others_copy_{};
  bool drained_{};

  Presence presence_{Presence::none};
  bool suspended_{};
  std::optional<Output> output_;  ///< what was asked for last; unknown while a session rules it

  // Active.
  Protection protection_{Protection::none};
  NodeId target_{nobody};
  std::optional<Error> lost_why_;
  std::optional<TimePoint> link_down_since_;
  bool ending_{};  ///< the engine still works on the end of a protection; its news are old

  HandOver hand_over_{HandOver::none};
  Term handed_over_;  ///< the record under which the backup may run what was handed over

  // Standby.
  Term offered_;
  bool replica_whole_{};
  bool session_ended_{};
  std::optional<TimePoint> session_lost_at_;

  std::optional<Request> request_;
  std::optional<Request> next_request_;  ///< waits until the one that it ends has been answered
  std::optional<Error> request_failed_;
  std::optional<TimePoint> disagreed_since_;
  bool powered_off_{};
  bool has_been_here_{};  ///< since the daemon started: it is not started by itself any more
  bool failed_{};
  std::string detail_;
};

}  // namespace understudy::failover
