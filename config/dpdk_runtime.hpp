// DPDK in this process: its memory and its own threads. Started by the first device that is opened,
// so a daemon that uses none has nothing of it. There can be one per process and it stays until the
// end; it leaves no files and no huge pages behind, however the process ends.
#pragma once

#include <cstddef>
#include <string>

#include "config/result.hpp"

namespace understudy::dpdk {

struct RuntimeOptions {
  /// For all packets of all devices. Huge pages if the host has so many free, else ordinary memory.
  std::size_t memory_mib{64};
};

/// For the start; without it the defaults hold. Before the first device is opened.
void configure(const RuntimeOptions& options);

/// Starts it unless it runs. The answer is for ever: what failed once cannot be tried again in this
/// process. Any thread; the caller's processors and signals stay as they are.
[[nodiscard]] Result<> start_runtime();

/// While it lives, what DPDK says on any thread is kept rather than logged: errors quote it. One at
/// a time.
class Listening {
 public:
  Listening();
  ~Listening();
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  /// What was said, on one line; empty: nothing.
  [[nodiscard]] std::string heard() const;
};

}  // namespace understudy::dpdk
