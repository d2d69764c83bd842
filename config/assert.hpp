// A broken invariant stops the process, in every build: output stays closed and the other host
// takes over. Never for what a peer, a guest, a file or an operator sent: that gets an Error.
#pragma once

namespace understudy {

[[noreturn]] void assertion_failed(const char* condition, const char* why, const char* file,
                                   int line) noexcept;

}  // namespace understudy

#define UNDERSTUDY_ASSERT(condition, why) \
  ((condition) ? static_cast<void>(0)     \
               : ::understudy::assertion_failed(#condition, why, __FILE__, __LINE__))
