// Datagrams in Ethernet frames of a type of their own, over a device driven by DPDK. Nothing of the
// host's IP stack is on their way: no addresses, no routes, no firewall.
//
//     | to 6 | from 6 | 0x88B5 | length 2 | datagram |      all big-endian; the length without
//     padding
//
// 0x88B5 is IEEE 802's type for local experiments; the kernel has no use for it.
//
// One thread receives. Asleep it costs nothing and wakes by the device; after work it looks again
// for a moment before it sleeps. A datagram is sent by the thread that sends it, and one who waits
// for datagrams can read them himself (`lend`), which spares a hop each.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "config/result.hpp"
#include "replication/datagram_port.hpp"

namespace understudy::replication {

enum class DpdkIdle : std::uint8_t {
  sleep,  ///< until the device wakes us
  poll,   ///< never sleeps: for a processor that does nothing else
};

struct DpdkPortOptions {
  std::string
      device;  ///< an interface, a PCI address or a virtual device, see config/dpdk_spec.hpp
  DpdkIdle idle{DpdkIdle::sleep};
  std::optional<unsigned> core{};  ///< the processor for the port's thread; needed by `poll`
  std::size_t mtu{1500};           ///< of a device that is not a Linux interface
};

/// Opens the device in the calling thread's network namespace.
[[nodiscard]] Result<std::unique_ptr<DatagramPort>> open_dpdk_port(const DpdkPortOptions& options);

}  // namespace understudy::replication
