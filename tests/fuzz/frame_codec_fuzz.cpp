// Any 48 bytes and more: decoded or refused, and what is decoded encodes to the same bytes.
#include "config/assert.hpp"
#include "fuzz_targets.hpp"
#include "replication/frame_codec.hpp"

namespace understudy::replication {

void fuzz_frame_codec(std::span<const std::byte> input) {
  if (input.size() < limits::frame_header_bytes) return;
  const auto header = decode_header(input.first<limits::frame_header_bytes>());
  const auto payload = input.subspan(limits::frame_header_bytes);
  if (!header || header->payload_bytes != payload.size()) return;
  if (!verify_checksum(*header, payload)) return;
  const auto again = encode_header(*header, payload);
  UNDERSTUDY_ASSERT(std::equal(again.begin(), again.end(), input.begin()), "one form per frame");
}

}  // namespace understudy::replication
