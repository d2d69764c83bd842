// The network cards of a guest: from its configuration to what QEMU and the gate need.
#pragma once

#include <memory>
#include <vector>

#include "config/config.pb.h"
#include "hypervisor/qemu_machine.hpp"
#include "netbuffer/detour.hpp"
#include "netbuffer/guest_network.hpp"

namespace understudy::checkpointer {

struct GuestWiring {
  std::vector<netbuffer::GuestNic> nics;
  std::vector<std::shared_ptr<netbuffer::Detour>> detours;
  hypervisor::QemuMachine::Wiring wiring;  ///< without disks
};

/// Opens the uplinks, in the calling thread's network namespace.
[[nodiscard]] Result<GuestWiring> wire_guest(const config::Guest& guest);

}  // namespace understudy::checkpointer
