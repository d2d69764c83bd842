// When a machine with IDE disks (PIIX) may be saved. Pure.
//
// A guest tells an IDE disk to transfer by DMA in two steps: the command, then the start of the
// bus master. QEMU 7.2 that is saved between them marks the command as one to be given again
// (ide_bmdma_pre_save), also where the guest only goes on: then it may be given twice, which the
// guest sees as a disk that does not answer, or QEMU ends by the assertion in bmdma_active_if.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/result.hpp"

namespace understudy::hypervisor {

/// The two channels' alternate status registers; to read them changes nothing.
inline constexpr std::array<std::uint16_t, 2> ide_status_ports{0x3F6, 0x376};

/// The monitor's command that reads a port, and whether its reply says that data are awaited (DRQ):
/// a paused machine has no transfer under way, so there is one still to be started, or it is
/// a transfer by the processor (PIO).
[[nodiscard]] std::string read_port(std::uint16_t port);
[[nodiscard]] Result<bool> awaits_data(std::string_view reply);

}  // namespace understudy::hypervisor
