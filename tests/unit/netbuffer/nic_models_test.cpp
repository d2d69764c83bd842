// The real QEMU: its network boot code asks for an address on every model of NIC.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <string>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "netbuffer/guest_network.hpp"
#include "netbuffer/stream_port.hpp"
#include "tests/unit/netbuffer/fake_uplink.hpp"

using namespace understudy;
using namespace understudy::netbuffer;
using namespace std::string_literals;

namespace {

constexpr const char* mac = "52:54:00:00:00:01";

/// Network boot is the only thing it can do. Ends with the object.
class Qemu {
 public:
  Qemu(const std::string& model, const UniqueFd& nic) {
    REQUIRE(::fcntl(nic.get(), F_SETFD, 0) == 0);
    std::vector<std::string> words{
        "qemu-system-x86_64",
        "-nodefaults",
        "-display",
        "none",
        "-m",
        "64",
        "-boot",
        "n",
        "-netdev",
        fmt::format("stream,id=n,server=off,addr.type=fd,addr.str={}", nic.get()),
        "-device",
        fmt::format("{},netdev=n,mac={}", model, mac)};
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    spawned_ =
        ::posix_spawnp(&pid_, words[0].c_str(), nullptr, nullptr, pointers.data(), environ) == 0;
  }
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;
  ~Qemu() {
    if (!spawned_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] bool spawned() const { return spawned_; }

 private:
  pid_t pid_{};
  bool spawned_;
};

}  // namespace

TEST_CASE("the output of every NIC model waits for its epoch") {
  const std::string model =
      GENERATE("virtio-net-pci"s, "virtio-net-pci,disable-modern=on"s, "e1000"s, "rtl8139"s);
  CAPTURE(model);
  auto [ours, qemus] = *connect_nic();
  auto [arriving, network] = seqpacket_pair();
  Wire wire;
  Mailbox<std::uint64_t> outputs;
  Mailbox<std::string> gone;
  std::vector<GuestNic> nics;
  nics.push_back({std::move(ours), *MacAddress::parse(mac),
                  std::make_unique<FakeUplink>(wire, std::move(arriving))});
  const auto gate =
      *GuestNetwork::start(std::move(nics), 1U << 20U,
                           {.on_output = [&](Epoch sealed) { outputs.put(sealed.value()); },
                            .on_guest_gone = [&](const Error& error) { gone.put(error.message); }});
  gate->hold();
  {
    const Qemu qemu{model, qemus};
    qemus.reset();  // or QEMU's death would not be seen
    if (!qemu.spawned()) {
      WARN("skipped: no qemu-system-x86_64 here");
      return;
    }
    REQUIRE(outputs.wait(1) == std::vector<std::uint64_t>{0});
    CHECK(wire.take().empty());
    gate->seal(Epoch{1});
    CHECK(wire.take().empty());
    gate->release(Epoch{1});
    const auto left = wire.take();
    REQUIRE_FALSE(left.empty());
    CHECK(left[0].substr(6, 6) == "\x52\x54\0\0\0\1"s);
    CHECK(left[0].size() >= 14);
  }
  CHECK(gone.wait(1).size() == 1);
}
