// How long the last packets waited for their commit.
#pragma once

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "config/sample_window.hpp"

namespace understudy::netbuffer {

using HoldTimes = SampleWindow<Duration, limits::hold_samples>;

}  // namespace understudy::netbuffer
