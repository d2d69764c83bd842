// The port to a hypervisor: what checkpointing needs of a machine, and nothing else. Stock QEMU is
// the first adapter; libxenctrl's log-dirty and context calls have the same shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "config/result.hpp"
#include "config/types.hpp"
#include "hypervisor/ram_layout.hpp"

namespace understudy::hypervisor {

inline constexpr std::uint64_t all_pages = ~std::uint64_t{0};

/// A run of consecutive pages, first page and contents. Contents may change under the reader's eyes
/// while the guest runs: copy first, then look. Valid only during the call.
using PageSink = std::function<Result<>(PageIndex first, std::span<const std::byte> contents)>;

/// Everything of a paused machine that is not RAM. Valid until the machine is paused again.
struct DeviceState {
  std::span<const std::byte> bytes;       ///< opaque to all but the hypervisor's adapter
  std::vector<std::uint64_t> used_bytes;  ///< of each RAM block, in the order of the layout
};

/// Why a guest is paused: a checkpoint will ask for its devices, which a hypervisor may begin to
/// save while the caller harvests.
enum class PauseFor : std::uint8_t { checkpoint, suspension };

/// What becomes of a guest whose devices have been saved.
enum class Then : std::uint8_t { stay_paused, run_on };

/// A machine whose guest runs here. One thread at a time.
class ActiveMachine {
 public:
  virtual ~ActiveMachine() = default;

  [[nodiscard]] virtual const RamLayout& layout() const = 0;

  /// Starts (or restarts) dirty tracking: the next harvest yields every page that was ever written.
  [[nodiscard]] virtual Result<> track() = 0;

  /// Stops the vCPUs; returns with all device I/O drained. Idempotent.
  [[nodiscard]] virtual Result<> pause(PauseFor purpose) = 0;

  /// Yields the pages written since the last harvest, and tracks them anew. A page that the guest
  /// writes meanwhile is yielded again next time; only a harvest of a paused machine is a snapshot.
  /// Ends after about `max_pages`; what is left stays dirty. The first harvest after `track` knows
  /// no such limit.
  [[nodiscard]] virtual Result<> harvest(const PageSink& sink, std::uint64_t max_pages) = 0;

  /// Yields every page that may hold something other than zeros. For comparing a machine with its
  /// replica; changes nothing about tracking.
  [[nodiscard]] virtual Result<> read(const PageSink& sink) = 0;

  /// Device state of the paused machine. With `Then::run_on` the guest runs again as soon as its
  /// state is saved; also after an error.
  [[nodiscard]] virtual Result<DeviceState> save_devices(Then then) = 0;

  [[nodiscard]] virtual Result<> resume() = 0;

  /// While it runs: what can be done now to make the next pause for a checkpoint shorter.
  [[nodiscard]] virtual Result<> expect_checkpoint() { return {}; }

  /// Whether the guest has nothing to do at this moment. A guess, and cheap; false: it has, or the
  /// hypervisor cannot tell.
  [[nodiscard]] virtual bool idle() const { return false; }
};

/// A machine that waits to be given a guest. One thread at a time.
class StandbyMachine {
 public:
  virtual ~StandbyMachine() = default;

  [[nodiscard]] virtual const RamLayout& layout() const = 0;

  /// The replica image: layout().bytes() of memory in layout order, zero at first but for what
  /// came with the machine's memory, if that had been another's (`earlier`). The caller
  /// writes whole epochs here; the machine does not look before `promote`.
  [[nodiscard]] virtual std::span<std::byte> image() = 0;
  [[nodiscard]] virtual std::span<std::byte> earlier() = 0;

  /// Loads the device state over the image and lets the guest run. After a failure the machine is
  /// lost, the image is not.
  [[nodiscard]] virtual Result<> promote(const DeviceState& devices) = 0;
};

}  // namespace understudy::hypervisor
