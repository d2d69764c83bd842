// The record of who may run a guest, agreed by a majority of the configured hosts. Pure.
//
// One round of Paxos per Corosync ring, for all guests together (Lamport, "Paxos Made Simple").
// Phase 1: in a new quorate ring every member tells all that it has accepted, and all take over the
// newest of it under a ballot higher than any told; when a majority of hosts say so, the ring is
// ready. Phase 2: proposals arrive in the same order at every member, which accepts one whose base
// is what it holds; accepted by a majority, it is decided, and only then may anybody act on it.
// One's own delivery proves nothing about the others (Corosync's order is AGREED, not SAFE),
// therefore the explicit answers.
//
// What a host has accepted must survive it: `memory()` goes to disk before anything that an event
// returns is sent. A host without memory (new, or its disk lost it) has no vote until it has taken
// over the records of a majority of others, or until all hosts meet for the first time.
//
// Two hosts alone: a majority is both. One may decide alone while the other is confirmed dead
// (fenced, said farewell, or by an operator's word) and has not been seen again, if it knows all
// that was ever decided. It does so from its first ready ring to the end of its daemon: what is
// decided without it needs it dead. A daemon that has just started does not: while it was away, the
// other may have gone on alone. DESIGN.md, "Two hosts", has the argument.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/types.hpp"
#include "failover/membership.hpp"
#include "failover/peer.pb.h"

namespace understudy::failover {

inline constexpr NodeId nobody{0};

struct Record {
  Term term;
  NodeId active{nobody};
  NodeId backup{nobody};  ///< may promote its replica when the active host is lost
  /// The wish to have it protected: hosts that may keep it, in order of preference. Whichever runs
  /// it protects it to another. Empty: nobody wants that.
  std::vector<NodeId> keep_on;
  NodeId home{nobody};  ///< the host that has said last that it runs the guest
  friend bool operator==(const Record&, const Record&) = default;
};

class RecordBook {
 public:
  using Messages = std::vector<peer::Message>;

  RecordBook(NodeId self, std::vector<NodeId> hosts, const peer::Memory& memory = {});

  /// To be stored durably before what an event returns is sent.
  [[nodiscard]] peer::Memory memory() const;

  // --- events; each returns what is to be sent to the group
  [[nodiscard]] Messages on_view(const View& view);
  /// A message of another ring, or one that makes no sense, is ignored.
  [[nodiscard]] Messages on_message(NodeId from, const peer::Message& message);
  void on_lost();
  /// For a ring that does not become ready, or a proposal that is not decided: a message may have
  /// been lost on its way. Says again what was said, and asks the others to do so.
  [[nodiscard]] Messages remind() const;
  /// Something waits for the others' answers.
  [[nodiscard]] bool waits() const;

  // --- two hosts alone
  /// The other host is dead: it shows nothing, and whoever bears its name later has just started.
  /// Ignored unless it is absent and we know all.
  [[nodiscard]] Messages confirm_dead(NodeId host);
  /// The same by an operator's word, and more: what this host remembers holds from now on, be it
  /// old or nothing. `era` (seconds since 1970) makes it newer than all from before; 0: as above.
  [[nodiscard]] Messages prevail(NodeId host, std::uint64_t era);
  [[nodiscard]] bool pair() const { return hosts_.size() == 2; }
  [[nodiscard]] bool knows_all() const { return knows_all_; }
  /// The host that is confirmed dead and not seen since; nobody: none is.
  [[nodiscard]] NodeId dead() const { return dead_; }
  /// We are in a ring, and the other host is not.
  [[nodiscard]] bool lost_other() const { return pair() && view_ && !view_->has(other()); }
  /// The same, and some guest cannot go on before it is back or dead.
  [[nodiscard]] bool misses_other() const;
  /// The other of two hosts.
  [[nodiscard]] NodeId other() const;

  /// A message that asks all to accept `next` in place of the decided record; its term and home are
  /// set here.
  /// Needs ready() and not pending(guest).
  [[nodiscard]] peer::Message propose(const std::string& guest, Record next);
  /// A message of the current ring, to be filled in. Needs a view.
  [[nodiscard]] peer::Message message() const;
  /// The last message of a daemon that stops: all its output is closed. Needs a view.
  [[nodiscard]] peer::Message farewell() const;

  // --- what is known
  [[nodiscard]] const std::optional<View>& view() const { return view_; }
  /// In a ring with quorum (the view may still be exchanging records).
  [[nodiscard]] bool quorate() const {
    return view_ && (view_->quorum == Quorum::present || decides_alone());
  }
  /// We are the one of two hosts that is left, and may go on.
  [[nodiscard]] bool decides_alone() const;
  /// A majority has answered in this ring: decided() is the truth, proposals may be made.
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] bool voter() const { return voter_; }
  /// The disk held a memory that cannot be read, and no majority has replaced it yet.
  [[nodiscard]] bool damaged() const { return damaged_; }
  /// A proposal has been made or accepted in this ring and is not decided.
  [[nodiscard]] bool pending(const std::string& guest) const;
  /// What this host has accepted, decided or not, by guest.
  [[nodiscard]] std::map<std::string, Record> remembered() const;
  /// The newest decided record that is known here; nobody runs it when there is none.
  [[nodiscard]] Record decided(const std::string& guest) const;

 private:
  struct Stored {
    Record record;
    std::uint64_t ballot{};
  };

  [[nodiscard]] bool of_this_ring(const peer::Message& message) const;
  [[nodiscard]] peer::Message own_state() const;
  [[nodiscard]] peer::Message own_adoption() const;
  [[nodiscard]] Messages on_state(NodeId from, const peer::State& state);
  void on_farewell(NodeId from);
  [[nodiscard]] Record unknown() const;  ///< of a guest of which nobody has heard
  void adopt();
  [[nodiscard]] std::map<std::string, Stored> newest() const;
  [[nodiscard]] Term after_abandoned(const std::string& guest, const Stored& kept) const;
  void on_adopted(NodeId from, const peer::Adopted& adopted);
  [[nodiscard]] Messages on_proposal(const peer::Proposal& proposal);
  [[nodiscard]] peer::Message own_acceptance(const std::string& guest) const;
  void on_accepted(NodeId from, const std::string& guest, Term term);
  /// So many must have said so.
  [[nodiscard]] std::size_t needed() const { return decides_alone() ? 1 : hosts_.size() / 2 + 1; }
  [[nodiscard]] bool is_host(NodeId node) const;
  [[nodiscard]] bool may_be_dead(NodeId host) const;

  const NodeId self_;
  const std::vector<NodeId> hosts_;
  bool voter_{};
  bool damaged_{};
  std::uint64_t ballot_{};
  Term floor_;  ///< of a guest that nobody remembers
  std::map<std::string, Stored> accepted_;
  std::map<std::string, Record> decided_;
  bool knows_all_{};
  NodeId dead_{nobody};
  std::uint64_t era_{};  ///< of an operator's word that has yet to be followed

  // Of this ring alone.
  std::optional<View> view_;
  peer::Memory told_;  ///< ours, as it was first told: all members must reckon with the same
  bool told_all_{};
  std::map<NodeId, peer::Memory> states_;
  std::set<NodeId> knowing_;  ///< of two hosts: those that say that they know all
  std::set<NodeId> voters_;
  std::set<NodeId> adopters_;
  std::map<std::string, std::set<NodeId>> acceptors_;  ///< of the record accepted last
  std::map<std::string, peer::Proposal> proposed_;     ///< by us, not yet delivered
  bool adopted_{};
  bool ready_{};
};

}  // namespace understudy::failover
