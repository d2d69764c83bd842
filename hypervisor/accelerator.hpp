// Which accelerator really works here. /dev/kvm may open on machines whose CPU cannot virtualize,
// and guests then die in odd ways; so the CPU must say it can, and firmware must boot, before KVM
// is chosen.
#pragma once

#include <string>

#include "config/config.pb.h"
#include "config/result.hpp"

namespace understudy::hypervisor {

struct AcceleratorChoice {
  config::Accelerator accelerator;  ///< KVM or TCG
  std::string why;                  ///< "no vmx or svm in /proc/cpuinfo"
};

/// AUTO prefers KVM; asking for KVM where it does not work is an error that says why. The probe (up
/// to limits::accelerator_probe, on the first call only) boots SeaBIOS under KVM. Thread-safe.
[[nodiscard]] Result<AcceleratorChoice> choose_accelerator(config::Accelerator wanted);

/// The feature flags of this host's CPU, sorted: the part of /proc/cpuinfo that a KVM guest may
/// see.
[[nodiscard]] std::string host_cpu_features();

}  // namespace understudy::hypervisor
