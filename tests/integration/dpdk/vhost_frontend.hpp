// A guest with one virtio NIC and its hypervisor, small enough to misbehave: 4 MiB of memory, two
// rings, and the vhost-user messages that QEMU would send. Sources: vhost-user.rst, virtio 1.1.
#pragma once

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "config/mapping.hpp"
#include "config/unique_fd.hpp"

namespace understudy::tests {

constexpr std::uint64_t guest_ram = 4U << 20U;
constexpr std::uint16_t ring_size = 16;
constexpr std::size_t header_bytes = 12;  // virtio_net_hdr of virtio 1
enum Ring : std::uint32_t { receive = 0, transmit = 1 };

struct Descriptor {
  std::uint64_t address;
  std::uint32_t size;
  std::uint16_t flags;
  std::uint16_t next;
};
constexpr std::uint16_t device_writes = 2;

class VhostFrontend {
 public:
  explicit VhostFrontend(int backend)
      : ram{::memfd_create("guest-ram", MFD_CLOEXEC)},
        socket_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    REQUIRE(::ftruncate(ram.get(), guest_ram) == 0);
    memory = *Mapping::shared(ram.get(), guest_ram);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto path = "/proc/self/fd/" + std::to_string(backend);
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    REQUIRE(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    for (auto* fds : {&kick, &call}) {
      for (auto& fd : *fds) fd = UniqueFd{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    }
  }

  void introduce() {
    send(set_owner, {});
    CHECK((features() & 1U) == 0);  // no checksum is left to us
    send(set_features, {version_1});
    share_memory();
  }
  void share_memory() { send(set_mem_table, {1, 0, guest_ram, user_address(0), 0}, ram.get()); }
  /// What `cont` does; `base` is what `stop` has returned.
  void start(std::uint32_t receive_base = 0, std::uint32_t transmit_base = 0) {
    for (const auto ring : {receive, transmit}) {
      send(set_vring_num, {pair(ring, ring_size)});
      send(set_vring_base, {pair(ring, ring == receive ? receive_base : transmit_base)});
      send(set_vring_addr,
           {pair(ring, 0), user_address(base(ring)), user_address(base(ring) + used_at),
            user_address(base(ring) + avail_at), 0});
      send(set_vring_call, {ring}, call[ring].get());
      send(set_vring_kick, {ring}, kick[ring].get());
    }
    static_cast<void>(features());  // it has done all this when it answers
  }
  /// What `stop` does, for one ring; returns where it was.
  std::uint32_t stop(Ring ring) {
    send(get_vring_base, {pair(ring, 0)});
    return static_cast<std::uint32_t>(reply() >> 32U);
  }
  std::uint64_t features() {
    send(get_features, {});
    return reply();
  }

  /// Whether the backend has closed the connection; waits for one of both.
  [[nodiscard]] bool refused() {
    char byte{};
    return ::recv(socket_.get(), &byte, 1, 0) <= 0;
  }

  // --- the guest
  void describe(Ring ring, std::uint16_t number, const Descriptor& descriptor) {
    put(base(ring) + number * sizeof descriptor, descriptor);
  }
  void offer(Ring ring, std::uint16_t number) {
    const auto next = available(ring);
    put(base(ring) + avail_at + 4 + (next % ring_size) * 2U, number);
    set_available(ring, static_cast<std::uint16_t>(next + 1));
  }
  [[nodiscard]] std::uint16_t available(Ring ring) const {
    return get<std::uint16_t>(base(ring) + avail_at + 2);
  }
  void set_available(Ring ring, std::uint16_t index) { put(base(ring) + avail_at + 2, index); }
  [[nodiscard]] std::uint16_t used(Ring ring) const {
    return get<std::uint16_t>(base(ring) + used_at + 2);
  }
  void notify(Ring ring) { REQUIRE(::eventfd_write(kick[ring].get(), 1) == 0); }
  [[nodiscard]] bool called(Ring ring) {
    eventfd_t count{};
    return ::eventfd_read(call[ring].get(), &count) == 0;
  }
  void transmit_frame(const std::string& frame) {
    const std::uint16_t slot = available(transmit) % ring_size;
    std::memset(memory.bytes().data() + buffer(transmit, slot), 0, header_bytes);
    std::memcpy(memory.bytes().data() + buffer(transmit, slot) + header_bytes, frame.data(),
                frame.size());
    const auto size = static_cast<std::uint32_t>(header_bytes + frame.size());
    describe(transmit, slot, {buffer(transmit, slot), size, 0, 0});
    offer(transmit, slot);
  }
  void make_room() {
    const std::uint16_t slot = available(receive) % ring_size;
    describe(receive, slot, {buffer(receive, slot), buffer_bytes, device_writes, 0});
    offer(receive, slot);
  }
  [[nodiscard]] std::string received(std::uint16_t slot, std::size_t size) const {
    const auto bytes = memory.bytes().subspan(buffer(receive, slot) + header_bytes, size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  static constexpr std::uint64_t used_at = 0x2000;
  static constexpr std::uint64_t avail_at = 0x1000;
  static constexpr std::uint32_t buffer_bytes = 4096;
  static constexpr std::uint64_t base(Ring ring) { return 0x10000U * (ring + 1U); }
  static constexpr std::uint64_t buffer(Ring ring, std::uint16_t slot) {
    return 0x100000U * (ring + 1U) + slot * std::uint64_t{buffer_bytes};
  }

  UniqueFd ram;
  Mapping memory;
  std::array<UniqueFd, 2> kick;
  std::array<UniqueFd, 2> call;

 private:
  static constexpr std::uint64_t version_1 = std::uint64_t{1} << 32U;
  enum Request : std::uint32_t {
    get_features = 1,
    set_features = 2,
    set_owner = 3,
    set_mem_table = 5,
    set_vring_num = 8,
    set_vring_addr = 9,
    set_vring_base = 10,
    get_vring_base = 11,
    set_vring_kick = 12,
    set_vring_call = 13,
  };
  static std::uint64_t pair(std::uint32_t low, std::uint32_t high) {
    return low | std::uint64_t{high} << 32U;
  }
  [[nodiscard]] std::uint64_t user_address(std::uint64_t guest_address) const {
    return reinterpret_cast<std::uint64_t>(memory.bytes().data()) + guest_address;
  }

  void send(Request request, const std::vector<std::uint64_t>& payload, int fd = -1) {
    const std::array<std::uint32_t, 3> header{
        request, 1, static_cast<std::uint32_t>(payload.size() * sizeof(std::uint64_t))};
    std::string bytes{reinterpret_cast<const char*>(header.data()), sizeof header};
    bytes.append(reinterpret_cast<const char*>(payload.data()), header[2]);
    iovec content{bytes.data(), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    if (fd >= 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      auto* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    REQUIRE(::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  std::uint64_t reply() {
    std::array<char, 20> bytes{};
    REQUIRE(::recv(socket_.get(), bytes.data(), bytes.size(), MSG_WAITALL) == 20);
    std::uint64_t value{};
    std::memcpy(&value, bytes.data() + 12, sizeof value);
    return value;
  }

  template <class T>
  void put(std::uint64_t at, const T& value) {
    std::memcpy(memory.bytes().data() + at, &value, sizeof value);
  }
  template <class T>
  [[nodiscard]] T get(std::uint64_t at) const {
    T value{};
    std::memcpy(&value, memory.bytes().data() + at, sizeof value);
    return value;
  }

  UniqueFd socket_;
};

}  // namespace understudy::tests
