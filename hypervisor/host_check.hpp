// Whether this host can keep guests at all: asked once, when the daemon starts.
#pragma once

#include "config/result.hpp"

namespace understudy::hypervisor {

/// QEMU is installed, the kernel knows PAGEMAP_SCAN (Linux 6.7) and userfaultfd's WP_ASYNC, pages
/// are 4 KiB. The error names what is missing and what to do.
[[nodiscard]] Result<> check_host();

}  // namespace understudy::hypervisor
