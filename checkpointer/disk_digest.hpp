// Digests of what lies on a disk, for two hosts to compare: XXH3-128, as 16 bytes.
#pragma once

#include <functional>
#include <string>

#include "checkpointer/guest_disks.hpp"

namespace understudy::checkpointer {

/// Changes what was read of chunks[which] before it is digested.
using AmendChunk = std::function<void(std::size_t which, std::span<std::byte> contents)>;

[[nodiscard]] Result<std::vector<std::string>> digest_chunks(GuestDisk& disk,
                                                             std::span<const std::uint64_t> chunks,
                                                             const AmendChunk& amend = nullptr);

}  // namespace understudy::checkpointer
