// What must agree between two hosts before a replica is of any use.
#pragma once

#include <string>
#include <vector>

#include "config/config.pb.h"
#include "config/result.hpp"

namespace understudy::hypervisor {

struct Fingerprint {
  std::string hypervisor;  ///< name and full package version
  std::string machine;     ///< resolved, versioned
  std::string cpu;
  std::string accelerator;
  std::string cpu_features;               ///< of the host where the guest sees them, else empty
  std::vector<std::string> boot_digests;  ///< SHA-256 of kernel and initrd
};

/// One sentence per difference, naming both values and the remedy; empty when they agree. Pure.
[[nodiscard]] std::vector<std::string> differences(const Fingerprint& ours,
                                                   const Fingerprint& theirs);

/// SHA-256 of the guest's boot files on this host, in the order kernel, initrd.
[[nodiscard]] Result<std::vector<std::string>> digest_boot_files(const config::Boot& boot);

}  // namespace understudy::hypervisor
