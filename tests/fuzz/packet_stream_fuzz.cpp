// Whatever comes from the guest's NIC, in whatever pieces: frames within the limit that put
// together again give the stream, or an error; and the pieces make no difference.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "netbuffer/packet_stream.hpp"

using namespace understudy;
using namespace understudy::netbuffer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

struct Outcome {
  std::vector<std::byte> frames;  // with their headers
  bool refused;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

bool take_frames(PacketDecoder& decoder, Outcome& outcome) {
  while (true) {
    const auto frame = decoder.front();
    if (!frame) return false;
    if (!*frame) return true;
    UNDERSTUDY_ASSERT((*frame)->size() <= limits::packet_bytes, "a limit");
    // Only QEMU makes an empty frame: we have no header for it.
    const auto header = (*frame)->empty() ? std::array<std::byte, packet_header_bytes>{}
                                          : packet_header((*frame)->size());
    outcome.frames.insert(outcome.frames.end(), header.begin(), header.end());
    outcome.frames.insert(outcome.frames.end(), (*frame)->begin(), (*frame)->end());
    decoder.pop();
  }
}

Outcome decode(std::span<const std::byte> stream, std::size_t piece) {
  PacketDecoder decoder;
  Outcome outcome{};
  while (!stream.empty()) {
    const auto space = decoder.space();
    UNDERSTUDY_ASSERT(!space.empty(), "there is space when no frame is there");
    const auto taken = stream.first(std::min({piece, space.size(), stream.size()}));
    std::copy(taken.begin(), taken.end(), space.begin());
    decoder.filled(taken.size());
    stream = stream.subspan(taken.size());
    if (!take_frames(decoder, outcome)) {
      outcome.refused = true;
      break;
    }
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t piece = 1U + data[0] + 256U * data[1];
  const auto stream = std::as_bytes(std::span{data, size}).subspan(2);
  const auto outcome = decode(stream, piece);
  UNDERSTUDY_ASSERT(outcome == decode(stream, stream.size()), "pieces make no difference");
  UNDERSTUDY_ASSERT(outcome.frames.size() <= stream.size() &&
                        std::equal(outcome.frames.begin(), outcome.frames.end(), stream.begin()),
                    "frames put together give the stream");
  return 0;
}
