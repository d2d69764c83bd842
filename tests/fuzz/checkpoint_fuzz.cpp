// Whatever is in a checkpoint file: refused, or given to the reader within its bounds.
#include <cstdint>

#include "checkpoint_forge.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  understudy::checkpointer::fuzz_checkpoint(std::as_bytes(std::span{data, size}));
  return 0;
}
