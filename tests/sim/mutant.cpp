#include "mutant.hpp"

namespace understudy::sim {

const char* name_of(Mutant mutant) {
  switch (mutant) {
    case Mutant::none: return "none";
    case Mutant::skips_writes: return "skips writes";
    case Mutant::believes_itself: return "believes itself";
    case Mutant::releases_early: return "releases early";
    case Mutant::releases_the_next_epoch: return "releases the next epoch";
    case Mutant::shows_without_quorum: return "shows without quorum";
    case Mutant::promotes_unrecorded: return "promotes unrecorded";
    case Mutant::acknowledges_to_the_end: return "acknowledges to the end";
    case Mutant::promotes_half_a_replica: return "promotes half a replica";
    case Mutant::misses_a_write: return "misses a write";
    case Mutant::hands_over_uncommitted: return "hands over uncommitted";
    case Mutant::shows_before_alone: return "shows before it is alone";
    case Mutant::goes_on_after_hand_over: return "goes on after the hand-over";
    case Mutant::heeds_old_acks: return "heeds old acknowledgements";
    case Mutant::acts_before_the_fence: return "acts before the fence";
    case Mutant::counts_old_fences: return "counts old fences";
    case Mutant::believes_failed_fences: return "believes failed fences";
    case Mutant::trusts_an_old_record: return "trusts an old record";
  }
  return "";
}

}  // namespace understudy::sim
