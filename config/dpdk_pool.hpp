// Memory for the packets of a device.
#pragma once

#include <cstddef>
#include <string>

#include "config/result.hpp"

struct rte_mempool;

namespace understudy::dpdk {

/// For how a pool lies in memory.
enum class PoolLayout {
  usual,
  one_piece,  ///< packets follow each other without gaps: a driver lends all of it to the kernel
};

/// `packets` with `room` for a frame each. Free of locks: who was interrupted while it takes a
/// packet keeps nobody else waiting, whatever their priorities; a pool's own ring would let a
/// real-time thread spin.
[[nodiscard]] Result<rte_mempool*> make_pool(const std::string& name, std::size_t packets,
                                             std::size_t room, PoolLayout layout);

/// Whether a device's packets are all with it or in the pool: each that is given out bears a port's
/// number until it is reset.
[[nodiscard]] bool all_came_back(rte_mempool* pool);

}  // namespace understudy::dpdk
