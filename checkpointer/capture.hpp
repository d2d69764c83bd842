// Turns what a machine has written into page records. Keeps the shadow: what the backup's image
// will be once it has applied everything sent so far. Comparing with it drops what did not change.
//
// Memory: the shadow costs the primary as much RAM as the guest has touched.
#pragma once

#include <functional>

#include "checkpointer/earlier_memory.hpp"
#include "checkpointer/frame_writer.hpp"
#include "checkpointer/page_codec.hpp"
#include "config/mapping.hpp"
#include "hypervisor/machine.hpp"

namespace understudy::checkpointer {

/// Device state travels as further pages behind the RAM, so that it too is sent as deltas.
inline constexpr std::uint64_t device_pages = limits::device_state_bytes / page_bytes;

struct CaptureCounts {
  std::uint64_t dirty_pages{};  ///< that the hypervisor reported
  std::uint64_t records{};      ///< of which so many had really changed
};

/// One thread. After an error the shadow no longer tells the truth: start anew.
class Capture {
 public:
  [[nodiscard]] static Result<Capture> create(hypervisor::ActiveMachine& machine,
                                              FrameWriter& writer);

  /// Before the first `take`: what the backup has from before need not travel.
  [[nodiscard]] Result<EqualMemory> find_equal(const AskBackup& ask) {
    return find_equal_memory(*machine_, shadow_.bytes(), ask);
  }

  /// Harvests and writes up to about `max_pages`.
  [[nodiscard]] Result<> take(std::uint64_t max_pages);

  [[nodiscard]] Result<> take_devices(const hypervisor::DeviceState& devices);

  /// Counts since the last call.
  [[nodiscard]] CaptureCounts counts() { return std::exchange(counts_, {}); }

 private:
  Capture(hypervisor::ActiveMachine& machine, FrameWriter& writer, Mapping shadow)
      : machine_{&machine}, writer_{&writer}, shadow_{std::move(shadow)} {}

  [[nodiscard]] Result<> write(PageIndex index, ConstPage contents);

  hypervisor::ActiveMachine* machine_;
  FrameWriter* writer_;
  Mapping shadow_;
  CaptureCounts counts_;
};

}  // namespace understudy::checkpointer
