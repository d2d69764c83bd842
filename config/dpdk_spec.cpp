#include "config/dpdk_spec.hpp"

#include <algorithm>
#include <bit>
#include <cctype>

#include "config/limits.hpp"

namespace understudy::dpdk {
namespace {

constexpr std::size_t ring_page = 4096;
constexpr std::size_t small_slot = 2048;
/// The largest that is a multiple of a page and leaves an mbuf, whose size is 16 bits, its
/// headroom.
constexpr std::size_t largest_slot = 61'440;
/// What the kernel puts before a received frame; before one to send it is less.
constexpr std::size_t slot_overhead = 66;

/// "0000:3b:00.1", the domain may be missing.
bool is_pci_address(std::string_view text) {
  constexpr std::string_view shape = "hhhh:hh:hh.h";
  const auto wanted = text.size() == 7 ? shape.substr(5) : shape;
  return std::equal(text.begin(), text.end(), wanted.begin(), wanted.end(), [](char c, char kind) {
    return kind == 'h' ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c == kind;
  });
}

bool is_interface_name(std::string_view text) {
  return !text.empty() && text.size() < limits::interface_name_bytes &&
         std::none_of(text.begin(), text.end(), [](char c) {
           return c == '/' || c == ',' || c == '=' ||
                  std::isgraph(static_cast<unsigned char>(c)) == 0;
         });
}

}  // namespace

Result<DeviceSpec> parse_device(std::string_view text) {
  if (is_pci_address(text)) {
    return PciDevice{text.size() == 7 ? fmt::format("0000:{}", text) : std::string{text}};
  }
  if (text.starts_with("net_")) {
    const auto comma = std::min(text.find(','), text.size());
    const auto arguments = text.substr(std::min(comma + 1, text.size()));
    return VirtualDevice{std::string{text.substr(0, comma)}, std::string{arguments}};
  }
  if (is_interface_name(text)) return LinuxInterface{std::string{text}};
  return fail(
      ErrorKind::invalid,
      "'{}' is not a device; name an interface like repl0, a PCI address like 0000:3b:00.1, "
      "or a virtual device of DPDK like net_af_xdp,iface=repl0",
      text);
}

std::optional<std::string> interface_of(const DeviceSpec& spec) {
  if (const auto* interface = std::get_if<LinuxInterface>(&spec)) return interface->name;
  const auto* device = std::get_if<VirtualDevice>(&spec);
  if (device == nullptr) return std::nullopt;
  if (device->driver != "net_af_xdp" && device->driver != "net_af_packet") return std::nullopt;
  constexpr std::string_view key = "iface=";
  std::string_view rest{device->arguments};
  while (!rest.empty()) {
    const auto end = std::min(rest.find(','), rest.size());
    const auto argument = rest.substr(0, end);
    if (argument.starts_with(key)) return std::string{argument.substr(key.size())};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return std::nullopt;
}

std::size_t PacketRing::frame_bytes() const {
  return slot_bytes - slot_overhead;
}

PacketRing packet_ring(std::size_t mtu, std::size_t ring_bytes) {
  const auto wanted = mtu + ethernet_header_bytes + vlan_tag_bytes + slot_overhead;
  const auto pages = (wanted + ring_page - 1) / ring_page;
  const auto slot = wanted <= small_slot ? small_slot : std::min(pages * ring_page, largest_slot);
  const auto slots = std::clamp(std::bit_floor(std::max<std::size_t>(ring_bytes / slot, 1)),
                                limits::ring_slots_min, limits::ring_slots_max);
  return {slot, std::max(slot, ring_page), slots};
}

}  // namespace understudy::dpdk
