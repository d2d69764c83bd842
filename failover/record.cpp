#include "failover/record.hpp"

#include <algorithm>
#include <tuple>

#include "config/assert.hpp"

namespace understudy::failover {
namespace {

Record from_message(const peer::Record& message) {
  return {Term{message.term()}, NodeId{message.active()}, NodeId{message.backup()}};
}

void to_message(const Record& record, peer::Record& message) {
  message.set_term(record.term.value());
  message.set_active(record.active.value());
  message.set_backup(record.backup.value());
}

}  // namespace

RecordBook::RecordBook(NodeId self, std::vector<NodeId> hosts)
    : self_{self}, hosts_{std::move(hosts)} {}

RecordBook::Messages RecordBook::on_view(const View& view) {
  on_lost();
  view_ = view;
  return {own_state()};
}

peer::Message RecordBook::own_state() const {
  auto message = this->message();
  auto& state = *message.mutable_state();
  state.set_voter(voter_);
  for (const auto& [guest, stored] : accepted_) {
    auto& entry = *state.add_record();
    entry.set_guest(guest);
    entry.set_ballot(stored.ballot);
    to_message(stored.record, *entry.mutable_record());
  }
  return message;
}

peer::Message RecordBook::own_adoption() const {
  auto message = this->message();
  message.mutable_adopted();
  return message;
}

RecordBook::Messages RecordBook::remind() const {
  if (!quorate() || ready_) return {};
  auto message = own_state();
  message.mutable_state()->set_reminder(true);
  if (adopted_) return {message, own_adoption()};
  return {message};
}

void RecordBook::on_lost() {
  view_.reset();
  states_.clear();
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
    case peer::Message::kAdopted: on_adopted(from); return {};
    case peer::Message::kProposal: return on_proposal(message.proposal());
    case peer::Message::kAccepted: on_accepted(from, message.accepted()); return {};
    default: return {};
  }
}

RecordBook::Messages RecordBook::on_state(NodeId from, const peer::State& state) {
  if (!adopted_) states_.insert_or_assign(from, state);
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
      all_hosts &&
      std::none_of(states_.begin(), states_.end(), [](auto& one) { return one.second.voter(); });
  for (const auto& [node, known] : states_) {
    const bool host = std::find(hosts_.begin(), hosts_.end(), node) != hosts_.end();
    if (host && (known.voter() || first_meeting)) voters_.insert(node);
  }
  if (voters_.size() < majority()) return answers;
  adopt();
  answers.push_back(own_adoption());
  return answers;
}

void RecordBook::adopt() {
  adopted_ = true;
  const auto age = [](const Stored& one) { return std::tuple{one.ballot, one.record.term}; };
  for (const auto node : voters_) {
    for (const auto& entry : states_.at(node).record()) {
      const Stored theirs{from_message(entry.record()), entry.ballot()};
      auto& ours = accepted_[entry.guest()];
      if (age(ours) < age(theirs)) ours = theirs;
    }
  }
  for (auto& [guest, stored] : accepted_) stored.ballot = view_->ring.sequence;
}

void RecordBook::on_adopted(NodeId from) {
  if (!adopted_ || ready_ || !voters_.contains(from)) return;
  adopters_.insert(from);
  if (adopters_.size() < majority()) return;
  // Every member holds the same records now, or will before it hears anything else in this ring.
  for (const auto& [guest, stored] : accepted_) {
    UNDERSTUDY_ASSERT(decided_[guest].term <= stored.record.term,
                      "a decided record never goes back");
    decided_[guest] = stored.record;
  }
  for (const auto& [node, state] : states_) {
    if (std::find(hosts_.begin(), hosts_.end(), node) != hosts_.end()) voters_.insert(node);
  }
  voter_ = true;
  ready_ = true;
}

peer::Message RecordBook::message() const {
  UNDERSTUDY_ASSERT(view_, "there is a ring to speak in");
  peer::Message message;
  message.set_ring_sequence(view_->ring.sequence);
  message.set_ring_representative(view_->ring.representative.value());
  return message;
}

bool RecordBook::of_this_ring(const peer::Message& message) const {
  return view_ && message.ring_sequence() == view_->ring.sequence &&
         message.ring_representative() == view_->ring.representative.value();
}

peer::Message RecordBook::propose(const std::string& guest, Record next) {
  UNDERSTUDY_ASSERT(ready_ && !pending(guest),
                    "one proposal for a guest at a time, in a ready ring");
  const auto base = decided(guest).term;
  next.term = base.next();
  proposed_.insert(guest);
  auto message = this->message();
  auto& proposal = *message.mutable_proposal();
  proposal.set_guest(guest);
  proposal.set_base_term(base.value());
  to_message(next, *proposal.mutable_record());
  return message;
}

RecordBook::Messages RecordBook::on_proposal(const peer::Proposal& proposal) {
  if (!ready_) return {};
  proposed_.erase(proposal.guest());
  auto& ours = accepted_[proposal.guest()];
  const auto next = from_message(proposal.record());
  if (ours.record.term.value() != proposal.base_term() || next.term != ours.record.term.next())
    return {};
  ours = {next, view_->ring.sequence};
  acceptors_[proposal.guest()].clear();
  auto answer = message();
  answer.mutable_accepted()->set_guest(proposal.guest());
  answer.mutable_accepted()->set_term(next.term.value());
  return {answer};
}

void RecordBook::on_accepted(NodeId from, const peer::Accepted& accepted) {
  const auto ours = accepted_.find(accepted.guest());
  if (!ready_ || ours == accepted_.end() || !voters_.contains(from)) return;
  if (ours->second.record.term.value() != accepted.term()) return;
  auto& acceptors = acceptors_[accepted.guest()];
  acceptors.insert(from);
  if (acceptors.size() >= majority()) decided_[accepted.guest()] = ours->second.record;
}

bool RecordBook::pending(const std::string& guest) const {
  if (proposed_.contains(guest)) return true;
  const auto ours = accepted_.find(guest);
  return ours != accepted_.end() && ours->second.record != decided(guest);
}

Record RecordBook::decided(const std::string& guest) const {
  const auto found = decided_.find(guest);
  return found == decided_.end() ? Record{} : found->second;
}

std::vector<std::string> RecordBook::guests() const {
  std::vector<std::string> names;
  for (const auto& [guest, record] : decided_) names.push_back(guest);
  return names;
}

}  // namespace understudy::failover
