#include "checkpointer/input_codec.hpp"

#include "config/assert.hpp"
#include "config/limits.hpp"
#include "replication/little_endian.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::size_t nic_at = 0;
constexpr std::size_t bytes_at = 2;
constexpr std::size_t head_bytes = 6;

struct InputRecord {
  std::size_t nic;
  std::span<const std::byte> frame;
};

Result<InputRecord> take_input(std::span<const std::byte>& rest) {
  if (rest.size() < head_bytes) return fail(ErrorKind::protocol, "a truncated input record");
  const auto nic = replication::get<std::uint16_t>(rest, nic_at);
  const auto bytes = replication::get<std::uint32_t>(rest, bytes_at);
  rest = rest.subspan(head_bytes);
  if (nic >= limits::nics_per_guest) {
    return fail(ErrorKind::protocol, "input of NIC {}; a guest has at most {}", nic,
                limits::nics_per_guest);
  }
  if (bytes == 0 || bytes > limits::packet_bytes || bytes > rest.size()) {
    return fail(ErrorKind::protocol, "an input record of {} bytes, of which {} are there", bytes,
                rest.size());
  }
  const InputRecord record{nic, rest.first(bytes)};
  rest = rest.subspan(bytes);
  return record;
}

}  // namespace

std::vector<std::vector<std::byte>> encode_input(std::span<const netbuffer::GivenFrame> frames) {
  std::vector<std::vector<std::byte>> payloads;
  for (const auto& given : frames) {
    const auto size = head_bytes + given.frame.size();
    if (given.frame.empty() || size > limits::frame_payload_bytes) continue;
    if (payloads.empty() || payloads.back().size() + size > limits::frame_payload_bytes)
      payloads.emplace_back();
    auto& payload = payloads.back();
    const auto at = payload.size();
    payload.resize(at + head_bytes);
    replication::put(payload, at + nic_at, static_cast<std::uint16_t>(given.nic));
    replication::put(payload, at + bytes_at, static_cast<std::uint32_t>(given.frame.size()));
    payload.insert(payload.end(), given.frame.begin(), given.frame.end());
  }
  return payloads;
}

Result<> check_input(std::span<const std::byte> payload) {
  if (payload.empty()) return fail(ErrorKind::protocol, "an input frame without contents");
  while (!payload.empty()) UNDERSTUDY_CHECK(take_input(payload));
  return {};
}

void for_each_input(std::span<const std::byte> payload,
                    const std::function<void(std::size_t, std::span<const std::byte>)>& visit) {
  while (!payload.empty()) {
    const auto record = take_input(payload);
    UNDERSTUDY_ASSERT(record.has_value(), "input is checked when it comes");
    visit(record->nic, record->frame);
  }
}

}  // namespace understudy::checkpointer
