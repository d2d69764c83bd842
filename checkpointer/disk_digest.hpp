// Digests of what lies on a disk, for two hosts to compare: XXH3-128, as 16 bytes.
#pragma once

#include <functional>
#include <string>

#include "checkpointer/guest_disks.hpp"

namespace understudy::checkpointer {

/// Of chunks first, first + 1, ... of a disk.
[[nodiscard]] Result<std::vector<std::string>> digest_chunks(GuestDisk& disk, std::uint64_t first,
                                                             std::uint64_t count);

/// Of each whole disk. `keep_going` is asked every few MiB; an error when it says no.
[[nodiscard]] Result<std::vector<std::string>> digest_disks(
    GuestDisks& disks, const std::function<bool()>& keep_going);

}  // namespace understudy::checkpointer
