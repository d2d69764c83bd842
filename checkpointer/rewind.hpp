// A replica that is to run, but not as it is: it goes back to an earlier epoch of its history
// first. What it was, the newest epoch, is kept as a branch: a checkpoint file.
//
//   plan (beside the session) ─► the guest is handed over, the session ends ─► rewind ─► promote
//
// All that may fail comes before the first change: the way is read, the branch is on the disk, the
// disks' way is in their journal. Until then whatever goes wrong leaves the newest epoch as it is.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "checkpointer/clone_checkpoint.hpp"

namespace understudy::checkpointer {

struct RewindOrder {
  std::shared_ptr<const History::Pin> to;
  std::string branches;  ///< the directory that takes the branch
  CheckpointAuthor author;
  std::stop_token stop{};  ///< to be asked before the first change: the newest epoch stays
};

struct RewindPlan {
  RewindOrder order;
  HistoryPoint to;
  HistoryPoint newest;             ///< at the time
  std::uint64_t branch_bytes_max;  ///< of the branch, at most
};

/// What a rewind would take; the errors are all reasons that can be known before. Any thread, while
/// the session goes on; waits for the history's file. `branches`: where the branch is to be.
[[nodiscard]] Result<RewindPlan> plan_rewind(const CloneSource& source, const HistoryWish& wish,
                                             const std::string& branches);

struct Branch {
  std::string path;
  std::uint64_t bytes{};  ///< on the disk
};

struct Rewound {
  HistoryPoint from;
  HistoryPoint to;
  Branch branch;
};

struct RewindOutcome {
  Result<Rewound> rewound;  ///< an error: why not
  Result<> usable;          ///< an error: the replica cannot run now, in whatever epoch
};

/// After the session, before the replica's disks are finished. `disks`: those of `source`. An error
/// of `go_on` ends the writing of the branch.
[[nodiscard]] RewindOutcome rewind(const CloneSource& source, GuestDisks& disks,
                                   const RewindOrder& order,
                                   const std::function<Result<>()>& go_on);

/// It did not run after all: nothing was abandoned, and there is no branch.
[[nodiscard]] tl::unexpected<Error> undone(const Rewound& rewound, const Error& why);

/// Where the branches of a guest are, as its configuration of this host says.
[[nodiscard]] std::string branch_directory(const config::Guest& guest,
                                           const std::string& state_dir);
/// Of a guest, the newest first.
[[nodiscard]] std::vector<Branch> list_branches(const std::string& directory,
                                                const std::string& guest);

}  // namespace understudy::checkpointer
