#include "failover/record.hpp"

#include <algorithm>
#include <tuple>

#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::failover {
namespace {

Record from_message(const peer::Record& message) {
  Record record{Term{message.term()},
                NodeId{message.active()},
                NodeId{message.backup()},
                {},
                NodeId{message.home()}};
  const auto hosts = std::min(message.keep_on_size(), static_cast<int>(limits::hosts));
  for (int i = 0; i < hosts; ++i) record.keep_on.emplace_back(message.keep_on(i));
  return record;
}

void to_message(const Record& record, peer::Record& message) {
  message.set_term(record.term.value());
  message.set_active(record.active.value());
  message.set_backup(record.backup.value());
  message.clear_keep_on();
  for (const auto host : record.keep_on) message.add_keep_on(host.value());
  message.set_home(record.home.value());
}

// In bits: neither rings nor changes of a record come as fast.
constexpr unsigned ballots_per_era = 24;
constexpr unsigned terms_per_era = 20;

}  // namespace

RecordBook::RecordBook(NodeId self, std::vector<NodeId> hosts, const peer::Memory& memory)
    : self_{self},
      hosts_{std::move(hosts)},
      voter_{memory.voter()},
      damaged_{memory.damaged()},
      ballot_{memory.ballot()},
      floor_{memory.term_floor()} {
  for (const auto& entry : memory.record()) {
    accepted_[entry.guest()] = {from_message(entry.record()), entry.ballot()};
  }
}

peer::Memory RecordBook::memory() const {
  peer::Memory memory;
  memory.set_voter(voter_);
  memory.set_damaged(damaged_);
  memory.set_ballot(ballot_);
  memory.set_term_floor(floor_.value());
  for (const auto& [guest, stored] : accepted_) {
    auto& entry = *memory.add_record();
    entry.set_guest(guest);
    entry.set_ballot(stored.ballot);
    to_message(stored.record, *entry.mutable_record());
  }
  return memory;
}

RecordBook::Messages RecordBook::on_view(const View& view) {
  on_lost();
  view_ = view;
  if (view.has(dead_)) {
    dead_ = nobody;
    era_ = 0;
  }
  told_ = memory();
  told_all_ = knows_all_;
  return {own_state()};
}

NodeId RecordBook::other() const {
  UNDERSTUDY_ASSERT(pair(), "there are two hosts");
  return hosts_.front() == self_ ? hosts_.back() : hosts_.front();
}

bool RecordBook::decides_alone() const {
  return pair() && view_ && view_->members == std::vector{self_} && dead_ == other() &&
         (knows_all_ || era_ != 0);
}

bool RecordBook::may_be_dead(NodeId host) const {
  return pair() && host == other() && !(view_ && view_->has(host));
}

RecordBook::Messages RecordBook::confirm_dead(NodeId host) {
  if (!may_be_dead(host) || !knows_all_) return {};
  dead_ = host;
  return view_ ? Messages{own_state()} : Messages{};
}

RecordBook::Messages RecordBook::prevail(NodeId host, std::uint64_t era) {
  if (!may_be_dead(host)) return {};
  dead_ = host;
  // Later than all that is known here, even by a clock that went back; and none that the other host
  // could choose: both may be told so in turn, and never have met.
  auto known = floor_;
  for (const auto& [guest, stored] : accepted_) known = std::max(known, stored.record.term);
  const auto later = std::max(era, (known.value() >> (terms_per_era + 1)) + 1);
  if (!knows_all_) era_ = later << 1U | (self_ == hosts_.front() ? 0U : 1U);
  return view_ ? Messages{own_state()} : Messages{};
}

peer::Message RecordBook::own_state() const {
  auto message = this->message();
  *message.mutable_state()->mutable_memory() = told_;
  message.mutable_state()->set_knows_all(told_all_);
  return message;
}

peer::Message RecordBook::own_adoption() const {
  auto message = this->message();
  auto& terms = *message.mutable_adopted()->mutable_term();
  for (const auto& [guest, stored] : accepted_) terms[guest] = stored.record.term.value();
  return message;
}

bool RecordBook::waits() const {
  if (!quorate()) return false;
  if (!ready_ || !proposed_.empty()) return true;
  return std::any_of(accepted_.begin(), accepted_.end(),
                     [this](const auto& one) { return one.second.record != decided(one.first); });
}

RecordBook::Messages RecordBook::remind() const {
  Messages messages;
  if (!waits()) return messages;
  if (!ready_) {
    messages.push_back(own_state());
    messages.back().mutable_state()->set_reminder(true);
    if (adopted_) messages.push_back(own_adoption());
    return messages;
  }
  for (const auto& [guest, proposal] : proposed_) {
    messages.push_back(message());
    *messages.back().mutable_proposal() = proposal;
  }
  for (const auto& [guest, stored] : accepted_) {
    if (stored.record == decided(guest)) continue;
    // As a proposal, so that whoever has accepted it says so again.
    messages.push_back(message());
    auto& proposal = *messages.back().mutable_proposal();
    proposal.set_guest(guest);
    proposal.set_base_term(stored.record.term.value() - 1);
    to_message(stored.record, *proposal.mutable_record());
  }
  return messages;
}

void RecordBook::on_lost() {
  view_.reset();
  states_.clear();
  knowing_.clear();
  voters_.clear();
  adopters_.clear();
  acceptors_.clear();
  proposed_.clear();
  adopted_ = false;
  ready_ = false;
}

RecordBook::Messages RecordBook::on_message(NodeId from, const peer::Message& message) {
  if (!of_this_ring(message) || !view_->has(from) || !quorate()) return {};
  switch (message.what_case()) {
    case peer::Message::kState: return on_state(from, message.state());
    case peer::Message::kAdopted: on_adopted(from, message.adopted()); return {};
    case peer::Message::kProposal: return on_proposal(message.proposal());
    case peer::Message::kAccepted:
      on_accepted(from, message.accepted().guest(), Term{message.accepted().term()});
      return {};
    case peer::Message::kFarewell: on_farewell(from); return {};
    default: return {};
  }
}

void RecordBook::on_farewell(NodeId from) {
  if (pair() && from == other()) dead_ = from;
}

bool RecordBook::is_host(NodeId node) const {
  return std::find(hosts_.begin(), hosts_.end(), node) != hosts_.end();
}

RecordBook::Messages RecordBook::on_state(NodeId from, const peer::State& state) {
  if (!adopted_) {
    states_.insert_or_assign(from, state.memory());
    if (pair() && state.knows_all()) knowing_.insert(from);
  }
  Messages answers;
  if (state.reminder() && from != self_) {
    answers.push_back(own_state());
    if (adopted_) answers.push_back(own_adoption());
  }
  const auto& members = view_->members;
  const auto told = [this](NodeId member) { return states_.contains(member); };
  if (adopted_ || !std::all_of(members.begin(), members.end(), told)) return answers;

  const bool all_hosts = std::all_of(hosts_.begin(), hosts_.end(), told);
  const bool first_meeting =
      all_hosts && std::none_of(states_.begin(), states_.end(), [](auto& one) {
        return one.second.voter() || one.second.damaged();
      });
  // Whoever knows all tells the other of two hosts, whatever that one remembers.
  const bool told_all = !knowing_.empty() || decides_alone();
  for (const auto& [node, known] : states_) {
    if (is_host(node) && (known.voter() || first_meeting || told_all)) voters_.insert(node);
  }
  if (voters_.size() < needed()) return answers;
  if (told_all) voter_ = true;
  adopt();
  answers.push_back(own_adoption());
  return answers;
}

void RecordBook::adopt() {
  adopted_ = true;
  // Rings have growing numbers for as long as Corosync remembers them; ballots grow in any case.
  ballot_ = view_->ring.sequence;
  for (const auto& [node, state] : states_) {
    ballot_ = std::max(ballot_, state.ballot() + 1);
    floor_ = std::max(floor_, Term{state.term_floor()});
  }
  if (era_ != 0) {
    ballot_ = std::max(ballot_, era_ << ballots_per_era);
    floor_ = std::max(floor_, Term{era_ << terms_per_era});
  }
  accepted_ = newest();
  for (auto& [guest, stored] : accepted_) {
    stored.ballot = ballot_;
    if (floor_ != Term{} && stored.record.term <= floor_) stored.record.term = floor_.next();
    if (pair()) stored.record.term = std::max(stored.record.term, after_abandoned(guest, stored));
  }
}

/// A term that no other record of the guest has had, also where two hosts have gone on alone in
/// turn and what one of them decided is given up.
Term RecordBook::after_abandoned(const std::string& guest, const Stored& kept) const {
  Term term;
  for (const auto& [node, state] : states_) {
    for (const auto& entry : state.record()) {
      const auto theirs = from_message(entry.record());
      if (entry.guest() == guest && theirs != kept.record)
        term = std::max(term, theirs.term.next());
    }
  }
  return term;
}

/// Of all that those who have a vote have accepted; whoever knows all is right.
std::map<std::string, RecordBook::Stored> RecordBook::newest() const {
  std::map<std::string, Stored> records;
  std::map<std::string, std::tuple<bool, std::uint64_t, Term>> ages;
  for (const auto node : voters_) {
    for (const auto& entry : states_.at(node).record()) {
      const Stored theirs{from_message(entry.record()), entry.ballot()};
      const auto age = std::tuple{knowing_.contains(node), theirs.ballot, theirs.record.term};
      const auto [known, first] = ages.emplace(entry.guest(), age);
      if (!first && age <= known->second) continue;
      known->second = age;
      records.insert_or_assign(entry.guest(), theirs);
    }
  }
  return records;
}

void RecordBook::on_adopted(NodeId from, const peer::Adopted& adopted) {
  if (!adopted_ || !voters_.contains(from)) return;
  for (const auto& [guest, term] : adopted.term()) on_accepted(from, guest, Term{term});
  adopters_.insert(from);
  if (ready_ || adopters_.size() < needed()) return;
  // Every member holds the same records now, or will before it hears anything else in this ring.
  for (const auto& [node, state] : states_) {
    if (is_host(node)) voters_.insert(node);
  }
  voter_ = true;
  knows_all_ = true;
  era_ = 0;
  damaged_ = false;
  ready_ = true;
}

peer::Message RecordBook::message() const {
  UNDERSTUDY_ASSERT(view_, "there is a ring to speak in");
  peer::Message message;
  message.set_ring_sequence(view_->ring.sequence);
  message.set_ring_representative(view_->ring.representative.value());
  return message;
}

peer::Message RecordBook::farewell() const {
  auto message = this->message();
  message.mutable_farewell();
  return message;
}

bool RecordBook::of_this_ring(const peer::Message& message) const {
  return view_ && message.ring_sequence() == view_->ring.sequence &&
         message.ring_representative() == view_->ring.representative.value();
}

peer::Message RecordBook::propose(const std::string& guest, Record next) {
  UNDERSTUDY_ASSERT(ready_ && !pending(guest),
                    "one proposal for a guest at a time, in a ready ring");
  const auto& before = decided(guest);
  const auto base = before.term;
  next.term = base.next();
  next.home = next.active == self_ ? self_ : before.home;
  auto message = this->message();
  auto& proposal = *message.mutable_proposal();
  proposal.set_guest(guest);
  proposal.set_base_term(base.value());
  to_message(next, *proposal.mutable_record());
  proposed_[guest] = proposal;
  return message;
}

Record RecordBook::unknown() const {
  Record record;
  record.term = floor_;
  return record;
}

RecordBook::Messages RecordBook::on_proposal(const peer::Proposal& proposal) {
  if (!ready_) return {};
  proposed_.erase(proposal.guest());
  auto& ours = accepted_.try_emplace(proposal.guest(), Stored{unknown(), {}}).first->second;
  const auto next = from_message(proposal.record());
  if (ours.record == next) return {own_acceptance(proposal.guest())};  // it is told again
  const bool follows = ours.record.term.value() == proposal.base_term();
  if (!follows || next.term != ours.record.term.next()) return {};
  ours = {next, ballot_};
  acceptors_[proposal.guest()].clear();
  return {own_acceptance(proposal.guest())};
}

peer::Message RecordBook::own_acceptance(const std::string& guest) const {
  auto message = this->message();
  message.mutable_accepted()->set_guest(guest);
  message.mutable_accepted()->set_term(accepted_.at(guest).record.term.value());
  return message;
}

void RecordBook::on_accepted(NodeId from, const std::string& guest, Term term) {
  const auto ours = accepted_.find(guest);
  if (!adopted_ || ours == accepted_.end() || !voters_.contains(from)) return;
  if (ours->second.record.term != term) return;
  auto& acceptors = acceptors_[guest];
  acceptors.insert(from);
  if (acceptors.size() < needed()) return;
  auto& decided = decided_[guest];
  UNDERSTUDY_ASSERT(decided.term <= term, "a decided record never goes back");
  decided = ours->second.record;
}

bool RecordBook::misses_other() const {
  if (!lost_other() || ready_) return false;
  return std::any_of(accepted_.begin(), accepted_.end(), [this](const auto& one) {
    const auto& [guest, stored] = one;
    const auto& [active, backup] = std::pair{stored.record.active, stored.record.backup};
    const bool shared = active != nobody && backup != nobody;
    return shared || (active == self_ && !quorate()) || stored.record != decided(guest);
  });
}

bool RecordBook::pending(const std::string& guest) const {
  if (proposed_.contains(guest)) return true;
  const auto ours = accepted_.find(guest);
  return ours != accepted_.end() && ours->second.record != decided(guest);
}

std::map<std::string, Record> RecordBook::remembered() const {
  std::map<std::string, Record> records;
  for (const auto& [guest, stored] : accepted_) records.emplace(guest, stored.record);
  return records;
}

Record RecordBook::decided(const std::string& guest) const {
  const auto found = decided_.find(guest);
  return found == decided_.end() ? unknown() : found->second;
}

}  // namespace understudy::failover
