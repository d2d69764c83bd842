#include "failover/guest_role.hpp"

#include <algorithm>

#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::failover {

/// What `decide` looks at: a ready ring in which nothing about this guest is undecided.
struct GuestRole::Scene {
  const View& view;
  Record record;
  NodeId dead;  ///< is known to run and to hold nothing
  TimePoint now;
  bool& proposed;
};

GuestRole::Actions GuestRole::decide(const RecordBook& book, TimePoint now) {
  Actions actions;
  if (!book.quorate()) {
    without_quorum(actions);
    return actions;
  }
  if (!book.ready() || book.pending(guest_)) {
    await_agreement(now, actions);
    return actions;
  }
  disagreed_since_.reset();
  reprotection_.look(*book.view(), now);
  bool proposed = false;
  const Scene scene{*book.view(), book.decided(guest_), book.dead(), now, proposed};
  if (scene.record.active == self_) {
    as_active(scene, actions);
  } else {
    as_other(scene, actions);
  }
  if (request_ && !proposed) pursue_request(scene, actions);
  return actions;
}

/// An operator is not kept waiting for hosts that do not agree. Whatever they decide in the end
/// holds.
void GuestRole::await_agreement(TimePoint now, Actions& actions) {
  if (!disagreed_since_) disagreed_since_ = now;
  if (!request_ || now - *disagreed_since_ < limits::record_agreement) return;
  answer(fail(ErrorKind::timed_out, "the hosts do not agree in time; see `understudy status`"),
         actions);
}

void GuestRole::without_quorum(Actions& actions) {
  reprotection_.look_away();
  if (request_)
    answer(fail(ErrorKind::unavailable, "quorum was lost; see `understudy status`"), actions);
  if (presence_ != Presence::running) return;
  set_output(Output::closed, actions);
  if (suspended_) return;
  if (protection_ == Protection::synchronising) end_protection("quorum was lost", actions);
  actions.emplace_back(act::Suspend{});
  suspended_ = true;
  detail_ = "no quorum: the guest is paused and its output closed";
}

// --- the record says that we run the guest

void GuestRole::as_active(const Scene& scene, Actions& actions) {
  switch (presence_) {
    case Presence::none: return take_over(scene, actions);
    case Presence::running: return run_active(scene, actions);
    case Presence::standby:
      if (!replica_whole_) return remove("the replica here was never whole", actions);
      actions.emplace_back(act::EndSession{"this host runs the guest now"});
      actions.emplace_back(
          act::Promote{scene.record.backup == nobody ? Output::open : Output::holding});
      presence_ = Presence::promoting;
      return;
    case Presence::starting:
    case Presence::promoting:
    case Presence::stopping: return;
  }
}

void GuestRole::take_over(const Scene& scene, Actions& actions) {
  const bool granted = request_ && request_->kind == Kind::start && !request_failed_ &&
                       request_->term == scene.record.term;
  if (!granted) return give_up_guest(scene, actions);
  actions.emplace_back(act::StartGuest{});
  presence_ = Presence::starting;
  has_been_here_ = true;
}

/// We should run the guest and have lost it: its backup takes over, or nobody.
void GuestRole::give_up_guest(const Scene& scene, Actions& actions) {
  const bool nowhere = powered_off_ || scene.record.backup == scene.dead;
  const auto backup = nowhere ? nobody : scene.record.backup;
  if (backup != nobody && !scene.view.has(backup)) return;  // it holds the only copy: wait for it
  propose(scene, backup, nobody, detail_, actions);
}

void GuestRole::run_active(const Scene& scene, Actions& actions) {
  if (suspended_) resume_unless_handed_over(scene, actions);
  if (scene.record.backup == nobody) {
    run_alone(scene, actions);
  } else {
    run_protected(scene, actions);
  }
}

void GuestRole::resume_unless_handed_over(const Scene& scene, Actions& actions) {
  if (hand_over_ == HandOver::under_way) return;  // its outcome says in which state the guest is
  if (hand_over_ == HandOver::complete) {
    if (may_switch_over(scene)) return;
    hand_over_ = HandOver::none;
    if (request_ && request_->kind == Kind::switch_over && !request_failed_) {
      request_failed_ = Error{ErrorKind::unavailable,
                              "the backup could not take over; the guest goes on where it was"};
    }
  }
  actions.emplace_back(act::Resume{});
  suspended_ = false;
  detail_.clear();
}

bool GuestRole::may_switch_over(const Scene& scene) const {
  const bool wanted = request_ && request_->kind == Kind::switch_over && !request_failed_;
  const bool undecided = wanted && request_->term == Term{};
  return undecided && protection_ == Protection::recorded && !lost_why_ &&
         scene.record.backup == target_ && scene.view.has(target_);
}

void GuestRole::run_protected(const Scene& scene, Actions& actions) {
  if (protection_ == Protection::ready && target_ == scene.record.backup) {
    protection_ = Protection::recorded;
    link_down_since_.reset();
    reprotection_.protected_by(target_, scene.now);
  }
  if (protection_ == Protection::none) {
    reprotection_.handed_over_by(scene.record.backup, scene.now);
    propose(scene, self_, nobody, "switched over to this host", actions);
  } else if (protection_ != Protection::recorded || lost_why_) {
    const auto why = lost_why_ ? lost_why_->message : "no session";
    propose(scene, self_, nobody, "the backup is lost: " + why, actions);
  } else if (!scene.view.has(scene.record.backup)) {
    propose(scene, self_, nobody, "the backup host left the cluster", actions);
  } else if (link_is_lost(scene)) {
    propose(scene, self_, nobody, "the link to the backup is down", actions);
  } else {
    set_output(Output::holding, actions);
  }
}

bool GuestRole::link_is_lost(const Scene& scene) const {
  return link_down_since_ && scene.now - *link_down_since_ > limits::link_give_up;
}

void GuestRole::run_alone(const Scene& scene, Actions& actions) {
  if (const auto why = why_gone(scene)) end_lost_protection(scene, *why, actions);
  switch (protection_) {
    case Protection::none:
      set_output(Output::open, actions);
      // We were given the guest; that we run it, and have its newest disks, we say ourselves.
      if (scene.record.home != self_) return propose(scene, self_, nobody, "", actions);
      return protect_again(scene, actions);
    case Protection::synchronising: return;  // open until its first epoch holds it
    case Protection::ready: {
      set_output(Output::holding, actions);
      auto next = scene.record;
      next.backup = target_;
      if (request_ && request_->kind == Kind::protect) next.keep_on = wish(scene.record, target_);
      return propose(scene, std::move(next), "", actions);
    }
    case Protection::recorded: return;
  }
}

/// Why there is no backup any more, where the record names none and there was to be one.
std::optional<Error> GuestRole::why_gone(const Scene& scene) const {
  if (protection_ == Protection::none) return std::nullopt;
  if (lost_why_) return lost_why_;
  if (!scene.view.has(target_))
    return Error{ErrorKind::unavailable, "the backup host left the cluster"};
  if (link_is_lost(scene)) return Error{ErrorKind::unavailable, "the link to the backup is down"};
  if (protection_ == Protection::recorded) return Error{ErrorKind::closed, detail_};
  return std::nullopt;
}

void GuestRole::end_lost_protection(const Scene& scene, const Error& why, Actions& actions) {
  if (!request_ || request_->kind != Kind::unprotect) reprotection_.failed(target_, why, scene.now);
  if (request_ && request_->kind == Kind::protect) request_failed_ = why;
  end_protection(why.message, actions);
}

void GuestRole::protect_again(const Scene& scene, Actions& actions) {
  if (request_ || ending_ || others_copy_ || !policy_.automatic) return;
  const auto host = reprotection_.due(scene.record.keep_on, self_, scene.now);
  if (host) begin_protection(scene, *host, actions);
}

// --- the record says that another host runs the guest, or nobody

void GuestRole::as_other(const Scene& scene, Actions& actions) {
  switch (presence_) {
    case Presence::standby: return stand_by(scene, actions);
    case Presence::running:
      if (hand_over_ == HandOver::complete && scene.record.backup == self_ &&
          scene.record.term == handed_over_)
        return await_successor(scene, actions);
      return remove(scene.record.active == nobody ? "stopped" : "another host runs this guest",
                    actions);
    case Presence::none: return start_by_itself(scene);
    default: return;
  }
}

/// The backup is to run what was handed over to it. It shows nothing before a record without us as
/// its backup is decided; until then our paused guest is as good as its own, and may go on if it is
/// lost.
void GuestRole::await_successor(const Scene& scene, Actions& actions) {
  if (scene.view.has(scene.record.active)) return;
  propose(scene, self_, nobody, "the backup was lost while it took over", actions);
}

/// A stopped guest that is marked so, once, where it ran last.
void GuestRole::start_by_itself(const Scene& scene) {
  const auto& record = scene.record;
  if (!policy_.autostart || drained_ || has_been_here_ || request_ || record.active != nobody)
    return;
  const auto first = policy_.keep_on.empty() ? self_ : policy_.keep_on.front();
  if ((record.home == nobody ? first : record.home) != self_) return;
  has_been_here_ = true;
  take({.kind = Kind::start, .by_itself = true});
}

void GuestRole::stand_by(const Scene& scene, Actions& actions) {
  const auto& record = scene.record;
  const bool active_is_here = scene.view.has(record.active);
  if (record.backup == self_ && offered_.next() == record.term) {
    if (active_is_here || !replica_whole_) return;
    // First of all the acknowledgements stop: an active host that lives after all can release
    // nothing any more.
    if (!session_ended_) actions.emplace_back(act::EndSession{"this host takes over"});
    session_ended_ = true;
    return propose(scene, self_, nobody, "promoted: its host left the cluster", actions);
  }
  const bool stale = session_lost_at_ && scene.now - *session_lost_at_ > limits::replica_grace;
  if (record.term > offered_ || !active_is_here || stale)
    remove("this host is not its backup", actions);
}

// --- requests

Result<> GuestRole::accept_request(const RecordBook& book) const {
  if (!book.quorate())
    return fail(ErrorKind::unavailable, "there is no quorum: this host may decide nothing now");
  if (!book.ready()) {
    return fail(ErrorKind::unavailable,
                "the hosts have not agreed on the records yet; after all daemons were down, all "
                "must meet once");
  }
  if (request_ && !may_be_interrupted()) {
    return fail(ErrorKind::conflict, "guest {}: another command is under way", guest_);
  }
  return {};
}

/// Synchronisation takes as long as the link needs; who wants to end it need not wait.
bool GuestRole::may_be_interrupted() const {
  return request_->kind == Kind::protect && !next_request_;
}

void GuestRole::take(Request request) {
  if (!request_) {
    request_ = request;
    return;
  }
  request_failed_ = Error{ErrorKind::closed, "ended by another command"};
  next_request_ = request;
}

Result<> GuestRole::need_active(const RecordBook& book) const {
  UNDERSTUDY_CHECK(accept_request(book));
  if (book.decided(guest_).active == self_ && presence_ == Presence::running) return {};
  return fail(ErrorKind::conflict,
              "guest {} does not run on this host; ask its active host (`understudy status`)",
              guest_);
}

Result<> GuestRole::check_start(const RecordBook& book) const {
  UNDERSTUDY_CHECK(accept_request(book));
  const auto record = book.decided(guest_);
  const bool taken = record.active != nobody && record.active != book.dead();
  if (taken || presence_ == Presence::running) {
    return fail(ErrorKind::conflict, "guest {} runs already (`understudy status` shows where)",
                guest_);
  }
  return {};
}

Result<> GuestRole::start(const RecordBook& book) {
  UNDERSTUDY_CHECK(check_start(book));
  take({.kind = Kind::start});
  return {};
}

Result<> GuestRole::stop(const RecordBook& book) {
  UNDERSTUDY_CHECK(accept_request(book));
  if (book.decided(guest_).active != self_) {
    return fail(ErrorKind::conflict,
                "guest {} does not run on this host; ask its active host (`understudy status`)",
                guest_);
  }
  take({.kind = Kind::stop});
  return {};
}

Result<> GuestRole::protect(const RecordBook& book, NodeId backup) {
  UNDERSTUDY_CHECK(need_active(book));
  if (protecting() && target_ != backup) {
    return fail(ErrorKind::conflict,
                "guest {} is protected already; `understudy unprotect {}` first", guest_, guest_);
  }
  if (!book.view()->has(backup))
    return fail(ErrorKind::unavailable, "the backup host is not in the cluster now");
  take({.kind = Kind::protect, .backup = backup});
  return {};
}

Result<> GuestRole::unprotect(const RecordBook& book) {
  UNDERSTUDY_CHECK(need_active(book));
  if (protection_ == Protection::none && book.decided(guest_).keep_on.empty())
    return fail(ErrorKind::conflict, "guest {} is not protected", guest_);
  take({.kind = Kind::unprotect});
  return {};
}

Result<> GuestRole::switch_over(const RecordBook& book) {
  UNDERSTUDY_CHECK(need_active(book));
  if (protection_ != Protection::recorded || lost_why_ || suspended_) {
    return fail(ErrorKind::conflict,
                "guest {} has no backup that could take over now; `understudy status` says why",
                guest_);
  }
  take({.kind = Kind::switch_over, .backup = target_});
  return {};
}

void GuestRole::pursue_request(const Scene& scene, Actions& actions) {
  if (request_failed_) return answer(fail(*request_failed_), actions);
  switch (request_->kind) {
    case Kind::start: return pursue_start(scene, actions);
    case Kind::stop: return pursue_stop(scene, actions);
    case Kind::protect: return pursue_protect(scene, actions);
    case Kind::unprotect: return pursue_unprotect(scene, actions);
    case Kind::switch_over: return pursue_switch_over(scene, actions);
  }
}

void GuestRole::pursue_start(const Scene& scene, Actions& actions) {
  if (presence_ == Presence::running) return answer("started", actions);
  if (scene.record.active == self_) return;  // starting
  if (scene.record.active != nobody && scene.record.active != scene.dead)
    return answer(fail(ErrorKind::conflict, "another host was faster"), actions);
  if (presence_ != Presence::none) return;  // an old replica is on its way out
  auto next = scene.record;
  next.active = self_;
  next.backup = nobody;
  next.keep_on = wish(scene.record, self_);
  propose(scene, std::move(next), "", actions);
  request_->term = scene.record.term.next();
}

void GuestRole::pursue_stop(const Scene& scene, Actions& actions) {
  if (scene.record.active != self_) {
    if (presence_ == Presence::none) answer("stopped", actions);
    return;
  }
  // Once it is decided that nobody runs it another host may start it, before we have heard so: we
  // must show nothing by then.
  if (presence_ == Presence::promoting) return;
  if (presence_ == Presence::running) set_output(Output::closed, actions);
  propose(scene, nobody, nobody, "stopped by the operator", actions);
}

void GuestRole::pursue_protect(const Scene& scene, Actions& actions) {
  if (presence_ != Presence::running)
    return answer(fail(ErrorKind::closed, "the guest is gone: {}", detail_), actions);
  if (protection_ == Protection::recorded) return answer("protected", actions);
  // What was under way when it was asked for may have ended before its turn came.
  if (protection_ != Protection::none || ending_) return;
  begin_protection(scene, request_->backup, actions);
}

void GuestRole::begin_protection(const Scene& scene, NodeId backup, Actions& actions) {
  lost_why_.reset();
  detail_.clear();
  protection_ = Protection::synchronising;
  target_ = backup;
  output_.reset();
  actions.emplace_back(act::Protect{target_, scene.record.term});
}

void GuestRole::pursue_unprotect(const Scene& scene, Actions& actions) {
  if (scene.record.active != self_ || presence_ != Presence::running) {
    return answer(fail(ErrorKind::closed, "the guest is gone: {}", detail_), actions);
  }
  if (scene.record.backup != nobody || !scene.record.keep_on.empty()) {
    auto next = scene.record;
    next.backup = nobody;
    next.keep_on.clear();
    return propose(scene, std::move(next), "unprotected by the operator", actions);
  }
  if (protection_ != Protection::none) {
    end_protection("unprotected by the operator", actions);
    set_output(Output::open, actions);
  }
  answer("unprotected", actions);
}

void GuestRole::pursue_switch_over(const Scene& scene, Actions& actions) {
  const auto& record = scene.record;
  if (record.active == request_->backup && record.backup == nobody) return answer("moved", actions);
  if (record.active == request_->backup && presence_ == Presence::running)
    return;  // it is taking over
  if (record.active != self_ || presence_ != Presence::running)
    return answer(fail(ErrorKind::closed, "the guest is gone: {}", detail_), actions);
  if (hand_over_ == HandOver::complete) {
    handed_over_ = request_->term = record.term.next();
    return propose(scene, target_, self_, "", actions);
  }
  if (record.backup != request_->backup) {
    return answer(fail(ErrorKind::unavailable, "{}; the guest goes on where it was", detail_),
                  actions);
  }
  if (std::exchange(request_->begun, true)) return;
  hand_over_ = HandOver::under_way;
  actions.emplace_back(act::HandOver{});
}

// --- outcomes

void GuestRole::handed_over(Result<> outcome) {
  if (presence_ != Presence::running) return;
  hand_over_ = outcome ? HandOver::complete : HandOver::none;
  if (outcome) suspended_ = true;
  if (!outcome && request_ && request_->kind == Kind::switch_over)
    request_failed_ = outcome.error();
}

void GuestRole::started(Result<> outcome) {
  presence_ = outcome ? Presence::running : Presence::none;
  output_.reset();
  suspended_ = false;
  powered_off_ = false;
  failed_ = !outcome;
  detail_ = outcome ? "" : outcome.error().message;
  if (!outcome && request_) request_failed_ = outcome.error();
}

void GuestRole::promoted(Result<> outcome) {
  forget_protection();
  reprotection_.look_away();  // its clients come first: the next full copy waits a little
  presence_ = outcome ? Presence::running : Presence::none;
  output_.reset();
  suspended_ = false;
  powered_off_ = false;
  failed_ = !outcome;
  if (!outcome) detail_ = "promotion failed: " + outcome.error().message;
}

void GuestRole::now_empty() {
  forget_protection();
  presence_ = Presence::none;
  suspended_ = false;
  hand_over_ = HandOver::none;
  output_.reset();
  replica_whole_ = false;
  session_ended_ = false;
  session_lost_at_.reset();
}

void GuestRole::stopped() {
  now_empty();
}

void GuestRole::guest_failed(const std::string& why) {
  now_empty();
  failed_ = true;
  detail_ = why;
}

void GuestRole::guest_powered_off() {
  now_empty();
  powered_off_ = true;
  detail_ = "the guest switched itself off";
}

void GuestRole::replica_ready() {
  if (protection_ == Protection::synchronising) protection_ = Protection::ready;
}

void GuestRole::protection_lost(const Error& why) {
  if (protection_ != Protection::none && !lost_why_) lost_why_ = why;
}

void GuestRole::protection_ended() {
  ending_ = false;
  output_.reset();
}

void GuestRole::link(bool up, TimePoint now) {
  if (up || protection_ == Protection::none) {
    link_down_since_.reset();
  } else if (!link_down_since_) {
    link_down_since_ = now;
  }
}

void GuestRole::standby_made(Term offered) {
  now_empty();
  has_been_here_ = true;
  presence_ = Presence::standby;
  offered_ = offered;
  failed_ = false;
  detail_.clear();
}

void GuestRole::standby_ready() {
  replica_whole_ = true;
}

void GuestRole::standby_lost(TimePoint now) {
  if (presence_ == Presence::standby && !session_lost_at_) session_lost_at_ = now;
}

std::vector<Reprotection::Outlook> GuestRole::outlook(const RecordBook& book, TimePoint now) const {
  if (presence_ != Presence::running || protection_ != Protection::none || !policy_.automatic) {
    return {};
  }
  return reprotection_.outlook(book.decided(guest_).keep_on, self_, now);
}

// --- small helpers

void GuestRole::propose(const Scene& scene, NodeId active, NodeId backup, const std::string& why,
                        Actions& actions) {
  auto next = scene.record;
  next.active = active;
  next.backup = backup;
  propose(scene, std::move(next), why, actions);
}

void GuestRole::propose(const Scene& scene, Record next, const std::string& why, Actions& actions) {
  if (std::exchange(scene.proposed, true)) return;
  if (!why.empty()) detail_ = why;
  actions.emplace_back(act::Propose{std::move(next)});
}

/// On which hosts the guest is to be kept, when it is started here or protected to `backup`.
std::vector<NodeId> GuestRole::wish(const Record& record, NodeId backup) const {
  if (!policy_.automatic) return {};
  auto hosts = policy_.keep_on.empty() ? record.keep_on : policy_.keep_on;
  if (hosts.empty() && backup == self_) return {};
  for (const auto host : {self_, backup}) {
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
  }
  return hosts;
}

void GuestRole::set_output(Output output, Actions& actions) {
  if (output_ == output) return;
  output_ = output;
  actions.emplace_back(act::SetOutput{output});
}

void GuestRole::answer(Result<std::string> result, Actions& actions) {
  if (!request_->by_itself) actions.emplace_back(act::Answer{std::move(result)});
  request_ = std::exchange(next_request_, std::nullopt);
  request_failed_.reset();
}

void GuestRole::forget_protection() {
  protection_ = Protection::none;
  target_ = nobody;
  lost_why_.reset();
  link_down_since_.reset();
}

void GuestRole::end_protection(const std::string& why, Actions& actions) {
  detail_ = why;
  forget_protection();
  output_.reset();
  ending_ = true;
  actions.emplace_back(act::EndProtection{why});
}

void GuestRole::remove(const std::string& why, Actions& actions) {
  if (presence_ == Presence::standby) actions.emplace_back(act::EndSession{why});
  if (presence_ == Presence::running) set_output(Output::closed, actions);
  actions.emplace_back(act::StopGuest{why});
  detail_ = why;
  forget_protection();
  presence_ = Presence::stopping;
}

}  // namespace understudy::failover
