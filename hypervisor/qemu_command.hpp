// The command line of a guest's QEMU. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.pb.h"

namespace understudy::hypervisor {

/// Main RAM is the first block of every layout and bears this name on both hosts.
inline constexpr const char* main_ram = "pc.ram";

inline constexpr const char* qemu_program = "qemu-system-x86_64";

/// Descriptors that QEMU inherits.
struct QemuDescriptors {
  int ram;                    ///< memfd of main RAM
  std::vector<int> monitors;  ///< stream sockets
  std::vector<int> nics;      ///< one per NIC of the guest: a stream socket, or with VHOST_USER an
                              ///< O_PATH descriptor of the socket on which the backend listens
  struct Disk {
    int socket;  ///< to an NBD server that exports disk_export(number)
    std::uint64_t bytes;
  };
  std::vector<Disk> disks;
};

/// Under which name a guest's disk is exported.
[[nodiscard]] std::string disk_export(std::size_t number);

enum class Start : std::uint8_t {
  paused,    ///< the guest will boot here: `cont` starts it
  incoming,  ///< waits for a guest: `migrate-incoming`
};

/// `guest` is resolved: accelerator KVM or TCG.
[[nodiscard]] std::vector<std::string> qemu_command(const config::Guest& guest, Start start,
                                                    const QemuDescriptors& descriptors);

}  // namespace understudy::hypervisor
