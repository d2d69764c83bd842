// Fuzz targets of replication: each takes any bytes and must neither crash nor break an invariant.
// libFuzzer drives them with -DUNDERSTUDY_FUZZ=ON, a unit test with seeded noise.
#pragma once

#include <cstddef>
#include <span>

namespace understudy::replication {

void fuzz_frame_codec(std::span<const std::byte> input);
void fuzz_frame_stream(std::span<const std::byte> input);
void fuzz_handshake(std::span<const std::byte> input);
void fuzz_receiver(std::span<const std::byte> input);
void fuzz_datagram_packet(std::span<const std::byte> input);
void fuzz_datagram_machine(std::span<const std::byte> input);
void fuzz_datagram_host(std::span<const std::byte> input);

}  // namespace understudy::replication
