// Faults of the machines themselves, to prove that the checkers see them.
#pragma once

#include <cstdint>

namespace understudy::sim {

enum class Mutant : std::uint8_t {
  none,
  skips_writes,             ///< what is accepted does not always reach the disk
  believes_itself,          ///< one host is a majority
  releases_early,           ///< output does not wait for the commit
  releases_the_next_epoch,  ///< output waits for the commit of the epoch before its own
  shows_without_quorum,     ///< output is not closed
  promotes_unrecorded,      ///< a lost session is reason enough to promote
  acknowledges_to_the_end,  ///< a promoted backup does not end its session first
  promotes_half_a_replica,  ///< a replica counts as whole before its first epoch
  misses_a_write,           ///< a checkpoint lacks now and then what was written last
  hands_over_uncommitted,   ///< a switchover does not wait for the last epoch's commit
  shows_before_alone,       ///< a switchover's new host shows the guest while the old is its backup
  goes_on_after_hand_over,  ///< a guest that was handed over runs on
  heeds_old_acks,           ///< who stood still believes what has come in meanwhile
  acts_before_the_fence,    ///< of two hosts: an agent that begins is as good as one that is done
  counts_old_fences,        ///< a host that was seen again still counts as dead
  believes_failed_fences,   ///< an agent that failed is believed
  trusts_an_old_record,     ///< a host that has just started fences the other and goes on
};
inline constexpr int mutants = 18;  ///< `none` included
[[nodiscard]] const char* name_of(Mutant mutant);

}  // namespace understudy::sim
