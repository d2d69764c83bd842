// Frames as tests hand them to the machines.
#pragma once

#include <vector>

#include "replication/control_frame.hpp"
#include "replication/receiver_machine.hpp"

namespace understudy::replication {

inline constexpr std::uint64_t test_session = 9;

struct TestFrame {
  FrameHeader header;
  std::vector<std::byte> payload;
};

inline TestFrame as_frame(std::span<const std::byte> bytes) {
  const auto header = decode_header(bytes.first<limits::frame_header_bytes>());
  const auto payload = bytes.subspan(limits::frame_header_bytes);
  return {header.value(), {payload.begin(), payload.end()}};
}

inline TestFrame make_frame(FrameType type, std::uint64_t session, std::uint64_t sequence,
                            std::uint64_t epoch, const std::string& payload = {}) {
  const auto bytes = std::as_bytes(std::span{payload});
  const auto header = encode_header({.type = type,
                                     .session = SessionId{session},
                                     .sequence = Sequence{sequence},
                                     .epoch = Epoch{epoch}},
                                    bytes);
  return {decode_header(header).value(), {bytes.begin(), bytes.end()}};
}

/// As a link does it: the payload goes to the place that the machine names.
inline Result<ReceiverMachine::Delivery> deliver(ReceiverMachine& machine, const TestFrame& frame) {
  const auto place = machine.place(frame.header).first(frame.payload.size());
  std::copy(frame.payload.begin(), frame.payload.end(), place.begin());
  return machine.on_frame(frame.header, place);
}

}  // namespace understudy::replication
