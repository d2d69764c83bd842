// A drill with the guest itself: to its backup and home again. Decides what comes next; pure, time
// is a parameter.
//
//   ask ──► move away ──► ask ──► wait (until it is protected to home)
//       ──► move home ──► ask ──► wait (until it is protected as before)
//
// The questions (probes) are left out when they cannot be asked. Whose guest does not answer before
// is not moved; who does not answer later has failed the drill, and is brought home all the same.
// What else fails ends the drill where it is, and `outcome` says where that is and what to do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/result.hpp"
#include "failover/peer.pb.h"
#include "failover/record.hpp"

namespace understudy::failover {

/// The way home, as the host that runs the guest, `self`, sees it: whether `asker` may have it now.
/// A request of another term is an old one. Pure.
[[nodiscard]] Result<> may_have(const Record& record, NodeId self, NodeId asker,
                                const peer::SwitchOverRequest& request);

class RealDrill {
 public:
  struct Parties {
    std::string guest;
    std::string home;  ///< this host, which runs it
    std::string away;  ///< its backup
  };
  /// What this host knows of the guest.
  struct Seen {
    bool agreed{};           ///< the records are; else it is what was known last
    std::string active;      ///< empty: nobody
    std::string backup;      ///< of a protected guest, by the record
    double copied{-1};       ///< by the active host: of the first copy; negative: not known
    std::string obstacle{};  ///< to its protection, by the active host
  };
  enum class Probes : std::uint8_t { asked, skipped };
  enum class Do : std::uint8_t { nothing, probe, move_away, move_home, end };

  RealDrill(Parties parties, Probes probes);

  /// Whether it may begin: the guest runs here, is protected, would be protected to this host by
  /// the backup. `keep_on`: of the record. Else what to do.
  [[nodiscard]] static Result<Parties> plan(const std::string& guest, const std::string& here,
                                            const Seen& seen,
                                            const std::vector<std::string>& keep_on);

  /// Looks anew; says each thing that is to be done once. Often.
  [[nodiscard]] Do look(const Seen& seen, TimePoint now);

  // --- outcomes
  void probed(const Result<>& outcome);
  void moved(const Result<>& outcome);
  /// It ends at the next look.
  void give_up(const std::string& why);

  /// What is being done, in words.
  [[nodiscard]] std::string step() const;
  [[nodiscard]] bool ended() const { return phase_ == Phase::ended; }
  /// After the end, or, of one that is cut short, now. An error says where the guest is.
  [[nodiscard]] Result<> outcome(const Seen& seen) const;

 private:
  enum class Phase : std::uint8_t {
    probe_first,
    move_away,
    probe_away,
    protect_away,
    move_home,
    probe_home,
    protect_home,
    ended
  };
  void enter(Phase phase);
  void after(Phase phase);
  [[nodiscard]] Do begin() const;
  void wait_for_move(const Seen& seen, TimePoint now);
  void wait_for_protection(const Seen& seen, TimePoint now);
  [[nodiscard]] const std::string& runs_on() const;
  [[nodiscard]] const std::string& protected_to() const;
  [[nodiscard]] std::string truth(const Seen& seen) const;

  const Parties parties_;
  const Probes probes_;
  Phase phase_;
  bool begun_{};
  TimePoint begun_at_;
  TimePoint advanced_at_;
  double copied_{-1};
  std::string failure_;  ///< the first; empty: none yet
};

}  // namespace understudy::failover
