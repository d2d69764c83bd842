// libFuzzer's entry for the target named by UNDERSTUDY_FUZZ_TARGET.
#include <cstdint>

#include "fuzz_targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  understudy::replication::UNDERSTUDY_FUZZ_TARGET(std::as_bytes(std::span{data, size}));
  return 0;
}
