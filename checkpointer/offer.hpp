// What a primary tells a backup about its guest, and whether a host can take it.
#pragma once

#include <cstdint>

#include "checkpointer/guest_disks.hpp"
#include "config/result.hpp"
#include "config/types.hpp"
#include "hypervisor/qemu_machine.hpp"
#include "replication/messages.pb.h"

namespace understudy::checkpointer {

[[nodiscard]] replication::Offer make_offer(const hypervisor::QemuMachine& machine, Term term,
                                            const std::vector<std::uint64_t>& disk_bytes);

/// The images that a backup would use: as many, and each of the size of the primary's.
[[nodiscard]] Result<> check_disks(const replication::Offer& offer, GuestDisks& here);

/// Compares an offer with the standby machine that was started for it. The error's message has one
/// sentence per difference.
[[nodiscard]] Result<> check_offer(const replication::Offer& offer,
                                   const hypervisor::QemuMachine& standby);

/// The offer's RAM blocks; `invalid` when no machine can have them.
[[nodiscard]] Result<hypervisor::RamLayout> layout_of(const replication::Offer& offer);

/// Whether this host has `bytes` of memory to spare; `purpose` says for what, in the error. The
/// answer is the kernel's estimate (MemAvailable), nothing is reserved.
[[nodiscard]] Result<> check_memory(std::uint64_t bytes, std::string_view purpose);

/// All RAM blocks of the offer, and room to stage a first epoch.
[[nodiscard]] std::uint64_t memory_for(const replication::Offer& offer);

}  // namespace understudy::checkpointer
