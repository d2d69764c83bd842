// Where this process itself writes into a guest's RAM: a vhost backend does, through mappings that
// it has made of QEMU's memory file. Who tracks the guest's writes must hear of them, for they pass
// QEMU's page tables by.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace understudy {

struct OwnMapping {
  int file;                    ///< what is mapped, from its start on
  std::span<std::byte> bytes;  ///< where
};

/// Thread-safe. A user is told apart by its address.
class OwnMappings {
 public:
  virtual ~OwnMappings() = default;

  /// The user's mappings may vanish when this returns, and are forgotten. Nobody writes through
  /// them any more.
  virtual void before_change(const void* user) = 0;

  /// These are all that the user has now, and new; writing through them may begin when this
  /// returns. Without `before_change` for those it had, writes are lost: an error for who tracks
  /// them.
  virtual void mapped(const void* user, const std::vector<OwnMapping>& mappings) = 0;
};

}  // namespace understudy
