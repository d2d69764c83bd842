// Two network namespaces with a cable between them: two hosts for one test process. Nothing of it
// has a name outside, and it ends with the process.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include <catch2/catch.hpp>

#include "config/unique_fd.hpp"

namespace understudy::testing {

class Network {
 public:
  Network() {
    run_in_new([this] { fd_ = UniqueFd{::open("/proc/thread-self/ns/net", O_RDONLY)}; });
  }

  /// On a thread that is there, and waits for it.
  void in(const std::function<void()>& work) const {
    std::thread{[&] {
      if (::setns(fd_.get(), CLONE_NEWNET) == 0) work();
    }}.join();
  }

  /// A shell's line, there.
  void run(const std::string& line) const {
    int code = -1;
    in([&] { code = std::system(line.c_str()); });
    INFO(line);
    REQUIRE(code == 0);
  }

  /// What `ip` takes for it.
  [[nodiscard]] std::string path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
  }

 private:
  static void run_in_new(const std::function<void()>& work) {
    bool made = false;
    std::thread{[&] {
      made = ::unshare(CLONE_NEWNET) == 0;
      if (made) work();
    }}.join();
    REQUIRE(made);
  }
  UniqueFd fd_;
};

/// Interface `repl0` in each.
struct TwoNetworks {
  explicit TwoNetworks(std::size_t mtu) {
    const auto size = " mtu " + std::to_string(mtu);
    a.run("ip link add repl0" + size + " type veth peer name repl0" + size + " netns " + b.path());
    for (const auto* each : {&a, &b}) {
      each->run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set repl0 up");
    }
  }
  Network a;
  Network b;
};

/// Before the tests: the whole program counts as skipped where they cannot be.
inline void skip_without_networks() {
  bool may = false;
  std::thread{[&] { may = ::unshare(CLONE_NEWNET) == 0; }}.join();
  if (may) return;
  std::puts("no right to make a network namespace: run it as root");
  std::exit(77);
}

}  // namespace understudy::testing
