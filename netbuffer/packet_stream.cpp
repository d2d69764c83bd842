#include "netbuffer/packet_stream.hpp"

#include <cstdint>
#include <cstring>

#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::netbuffer {

std::array<std::byte, packet_header_bytes> packet_header(std::size_t size) {
  UNDERSTUDY_ASSERT(size > 0 && size <= limits::packet_bytes, "frames have a limit");
  std::array<std::byte, packet_header_bytes> header;
  for (std::size_t i = 0; i < header.size(); ++i) {
    header[i] = static_cast<std::byte>(size >> (8 * (header.size() - 1 - i)));
  }
  return header;
}

PacketDecoder::PacketDecoder()
    : buffer_{std::make_unique_for_overwrite<std::byte[]>(limits::nic_read_bytes)} {}

std::span<std::byte> PacketDecoder::space() {
  if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
    end_ -= begin_;
    begin_ = 0;
  }
  return {buffer_.get() + end_, limits::nic_read_bytes - end_};
}

void PacketDecoder::filled(std::size_t size) {
  UNDERSTUDY_ASSERT(size <= limits::nic_read_bytes - end_, "more was written than there was space");
  end_ += size;
}

std::size_t PacketDecoder::frame_size() const {
  std::size_t size = 0;
  for (std::size_t i = 0; i < packet_header_bytes; ++i) {
    size = size << 8U | std::to_integer<std::size_t>(buffer_[begin_ + i]);
  }
  return size;
}

Result<std::optional<std::span<const std::byte>>> PacketDecoder::front() const {
  using Frame = std::optional<std::span<const std::byte>>;
  if (buffered() < packet_header_bytes) return Frame{};
  const auto size = frame_size();
  if (size > limits::packet_bytes) {
    return fail(ErrorKind::protocol,
                "the guest's NIC announces a frame of {} bytes; {} are possible", size,
                limits::packet_bytes);
  }
  if (buffered() < packet_header_bytes + size) return Frame{};
  return Frame{{buffer_.get() + begin_ + packet_header_bytes, size}};
}

void PacketDecoder::pop() {
  const auto shown = front();
  UNDERSTUDY_ASSERT(shown && *shown, "only a whole frame can be taken away");
  begin_ += packet_header_bytes + (*shown)->size();
}

}  // namespace understudy::netbuffer
