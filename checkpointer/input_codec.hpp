// Copies of frames that a guest was given, on their way to the backup: records, one after the
// other. Pure.
//
//   record   u16 NIC, u32 bytes; little-endian; then the frame
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "config/result.hpp"
#include "netbuffer/guest_network.hpp"

namespace understudy::checkpointer {

/// In payloads of at most limits::frame_payload_bytes; a frame that fits none is left out.
[[nodiscard]] std::vector<std::vector<std::byte>> encode_input(
    std::span<const netbuffer::GivenFrame> frames);

/// What is malformed: an unknown NIC, a frame that is empty or larger than any, a truncated record.
[[nodiscard]] Result<> check_input(std::span<const std::byte> payload);

/// Of a payload that has passed the check.
void for_each_input(
    std::span<const std::byte> payload,
    const std::function<void(std::size_t nic, std::span<const std::byte> frame)>& visit);

}  // namespace understudy::checkpointer
