// Talks to the preloaded shim (preload_shim.c) inside a QEMU.
#pragma once

#include <cstdint>
#include <string>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::hypervisor {

class ShimClient {
 public:
  /// A pair of sockets: ours and the one that QEMU inherits.
  struct Pair;
  [[nodiscard]] static Result<Pair> create();

  /// A fresh userfaultfd of QEMU's address space.
  [[nodiscard]] Result<UniqueFd> userfaultfd() const;

  /// Where a RAM block lies in QEMU's address space. Only while the machine is paused.
  [[nodiscard]] Result<std::uint64_t> block_address(const std::string& name) const;

  /// The shim's file: beside our own executable.
  [[nodiscard]] static Result<std::string> library();

 private:
  explicit ShimClient(UniqueFd socket) : socket_{std::move(socket)} {}
  UniqueFd socket_;
};

struct ShimClient::Pair {
  ShimClient ours;
  UniqueFd theirs;
};

}  // namespace understudy::hypervisor
