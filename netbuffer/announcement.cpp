#include "netbuffer/announcement.hpp"

#include <algorithm>
#include <cstdint>
#include <span>

namespace understudy::netbuffer {
namespace {

/// Writes one field after the other.
class Fields {
 public:
  explicit Fields(std::span<std::byte> to) : to_{to} {}
  void mac(const MacAddress& mac) {
    for (const auto octet : mac.octets) byte(octet);
  }
  void be16(unsigned value) {
    byte(value >> 8U);
    byte(value & 0xffU);
  }
  void byte(unsigned value) { to_[next_++] = static_cast<std::byte>(value); }
  void zeros(std::size_t count) { next_ += count; }

 private:
  std::span<std::byte> to_;
  std::size_t next_{};
};

constexpr MacAddress everybody{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr unsigned rarp = 0x8035;
constexpr unsigned ethernet = 1;
constexpr unsigned ipv4 = 0x0800;
constexpr unsigned request_reverse = 3;

}  // namespace

Announcement announcement(const MacAddress& mac) {
  Announcement frame{};
  Fields out{frame};
  out.mac(everybody);
  out.mac(mac);
  out.be16(rarp);
  out.be16(ethernet);
  out.be16(ipv4);
  out.byte(6);
  out.byte(4);
  out.be16(request_reverse);
  out.mac(mac);  // sender
  out.zeros(4);
  out.mac(mac);  // whose IP address is asked for
  out.zeros(4);
  return frame;
}

}  // namespace understudy::netbuffer
