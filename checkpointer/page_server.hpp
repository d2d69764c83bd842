// Gives a clone's machine the pages of a frozen moment as it touches them: what neither it nor the
// replica changes stays the replica's alone.
//
//   the clone touches a page          ──► of the replica's image, and those beside it
//   the replica is about to change it ──► given to the clone before (RamSnapshot::preserve)
#pragma once

#include <memory>
#include <thread>

#include "checkpointer/ram_snapshot.hpp"
#include "hypervisor/pages_on_demand.hpp"

namespace understudy::checkpointer {

/// A thread of its own, from the beginning to the end of this object.
class PageServer {
 public:
  /// The snapshot's target gives pages to the same machine.
  PageServer(std::shared_ptr<RamSnapshot> moment,
             std::shared_ptr<hypervisor::PagesOnDemand> machine);
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  /// An error: a page cannot be had any more, and the machine waits for ever. Any thread.
  [[nodiscard]] Result<> check() const;

 private:
  void run();
  void serve(std::uint64_t page);

  std::shared_ptr<RamSnapshot> moment_;
  std::shared_ptr<hypervisor::PagesOnDemand> machine_;
  std::thread thread_;
};

}  // namespace understudy::checkpointer
