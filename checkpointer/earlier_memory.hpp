// What a backup has of a guest's memory already, because the guest ran there or was kept there
// before: found by digests of pages, so that only the rest travels.
//
//   primary                                     backup
//     digests of these pages?         ──────►     of the image that it has from before
//                                     ◄──────     16 bytes each; none: its image began empty
//     keep these of them              ──────►     the others, and those before, become zeros
//     ... so on, then sync_pages      ──────►     what was never named becomes zeros, too
//
// Digests are XXH3-128 under a seed that the primary draws. A primary that does not ask finds an
// image of zeros.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "hypervisor/machine.hpp"
#include "replication/replication_server.hpp"

namespace understudy::checkpointer {

struct EqualMemory {
  std::uint64_t compared{};  ///< pages; 0: the backup has nothing from before
  std::uint64_t equal{};
};

/// Sends a request, in order with the frames, and waits for its answer.
using AskBackup = std::function<Result<replication::Reply>(replication::Request)>;

/// The primary's side. `shadow`, zero before, is afterwards what the backup's image is. The guest
/// may run: what it writes meanwhile must be tracked.
[[nodiscard]] Result<EqualMemory> find_equal_memory(hypervisor::ActiveMachine& machine,
                                                    std::span<std::byte> shadow,
                                                    const AskBackup& ask);

/// The backup's side. Not thread-safe.
class EarlierMemory {
 public:
  /// `image` may hold something from before; an empty one is known to be zeros.
  explicit EarlierMemory(std::span<std::byte> image) : image_{image} {}

  /// One after the other; empty if there is nothing from before.
  [[nodiscard]] Result<std::string> digests(const replication::MemoryDigestRequest& request) const;
  /// Which pages those are that stay: `visit` is told of each. Takes its time for large gaps, and
  /// asks `keep_going` meanwhile.
  [[nodiscard]] Result<> keep(const replication::MemoryKeepRequest& request,
                              const std::function<void(std::uint64_t page)>& visit,
                              const replication::KeepGoing& keep_going);
  /// All that was not named becomes zeros, once; nothing is compared any more.
  void settle();

 private:
  [[nodiscard]] std::uint64_t pages() const { return image_.size() / page_bytes; }
  [[nodiscard]] Result<> check(std::uint64_t count) const;

  [[nodiscard]] Result<> clear(std::uint64_t until, const replication::KeepGoing& keep_going);

  std::span<std::byte> image_;
  std::uint64_t done_{};  ///< all pages before are kept, or zeros
  bool settled_{};
};

}  // namespace understudy::checkpointer
