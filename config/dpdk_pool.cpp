#include "config/dpdk_pool.hpp"

#include <cstdint>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace understudy::dpdk {
namespace {

rte_mempool* build(const std::string& name, std::size_t packets, std::size_t room,
                   PoolLayout layout) {
  rte_pktmbuf_pool_private shape{};
  shape.mbuf_data_room_size = static_cast<std::uint16_t>(room + RTE_PKTMBUF_HEADROOM);
  const unsigned flags =
      layout == PoolLayout::one_piece ? RTE_MEMPOOL_F_NO_IOVA_CONTIG | RTE_MEMPOOL_F_NO_SPREAD : 0;
  auto* pool = ::rte_mempool_create_empty(
      name.c_str(), static_cast<unsigned>(packets),
      static_cast<unsigned>(sizeof(rte_mbuf)) + shape.mbuf_data_room_size, 0, sizeof shape,
      SOCKET_ID_ANY, flags);
  if (pool == nullptr) return nullptr;
  int code = ::rte_mempool_set_ops_byname(pool, "lf_stack", nullptr);
  if (code == 0) {
    ::rte_pktmbuf_pool_init(pool, &shape);
    code = ::rte_mempool_populate_default(pool);
  }
  if (code < 0) {
    ::rte_mempool_free(pool);
    rte_errno = -code;
    return nullptr;
  }
  ::rte_mempool_obj_iter(pool, ::rte_pktmbuf_init, nullptr);
  return pool;
}

}  // namespace

Result<rte_mempool*> make_pool(const std::string& name, std::size_t packets, std::size_t room,
                               PoolLayout layout) {
  auto* pool = build(name, packets, room, layout);
  if (pool == nullptr) {
    return fail(ErrorKind::limit,
                "no memory for {} packets of {} bytes ({}); raise dpdk.memory_mib", packets, room,
                ::rte_strerror(rte_errno));
  }
  if (layout == PoolLayout::one_piece && pool->nb_mem_chunks != 1) {
    ::rte_mempool_free(pool);
    return fail(ErrorKind::limit,
                "no memory in one piece for {} packets of {} bytes; raise dpdk.memory_mib", packets,
                room);
  }
  return pool;
}

bool all_came_back(rte_mempool* pool) {
  std::size_t out = 0;
  ::rte_mempool_obj_iter(
      pool,
      [](rte_mempool* /*pool*/, void* count, void* object, unsigned /*index*/) {
        const bool given_out = static_cast<rte_mbuf*>(object)->port != RTE_MBUF_PORT_INVALID;
        *static_cast<std::size_t*>(count) += given_out ? 1 : 0;
      },
      &out);
  return out == 0;
}

}  // namespace understudy::dpdk
