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
  /// Sessions that ended, as they should, for the network was away for so long.
  std::uint64_t given_up{};

  Verdict& operator+=(const Verdict& other);
  /// What has happened, in numbers.
  [[nodiscard]] std::string text() const;
};

/// Kinds of misfortune that a seed is spared: to find those that a failure needs.
struct Spared {
  bool loss{};
  bool repetition{};
  bool reordering{};
  bool damage{};
  bool no_buffers{};
  bool flaps{};
  bool security{};
};
[[nodiscard]] Verdict run_replication(std::uint64_t seed, const Spared& spared = {});

/// What a failing seed must meet to fail.
[[nodiscard]] std::string minimised_replication(std::uint64_t seed);

}  // namespace understudy::sim
