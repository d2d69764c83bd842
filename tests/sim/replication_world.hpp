// A primary and a backup of one guest, both of production classes (SenderMachine, DatagramMachine,
// ReceiverSession), on a simulated network and clock, in one thread. All chances come from a seed.
//
// What is held to: a commit that the primary hears is of an epoch which the replica was given byte
// for byte; epochs are applied whole and in order; no link ends because something was understood
// wrongly, whatever was lost, repeated, reordered or damaged; and once the network behaves again
// all that was sent arrives.
#pragma once

#include <cstdint>
#include <string>

namespace understudy::sim {

struct Verdict {
  std::string failure;  ///< empty: all held
  std::uint64_t packets{};
  std::uint64_t resent{};
  std::uint64_t connections{};
  std::uint64_t epochs{};
  bool given_up{};  ///< the network was away for so long that the session ended, as it should
};

[[nodiscard]] Verdict run_replication(std::uint64_t seed);

}  // namespace understudy::sim
