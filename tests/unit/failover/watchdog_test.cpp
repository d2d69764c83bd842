// A pipe with a name stands for the device: what is written to it can be read, and it knows no
// ioctl of a watchdog.
#include "failover/watchdog.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "tests/unit/failover/temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;

namespace {

struct Device {
  TemporaryDirectory directory;
  std::string path = directory.path() / "watchdog";
  UniqueFd reader;

  Device() {
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    reader = UniqueFd{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    REQUIRE(reader);
  }

  std::string heard() const {
    std::array<char, 64> bytes{};
    const auto count = ::read(reader.get(), bytes.data(), bytes.size());
    return {bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
  }
};

}  // namespace

TEST_CASE("a watchdog is petted by the thread that decides, and disarmed by a clean stop",
          "[watchdog]") {
  const Device device;
  boost::asio::io_context io;
  const auto watchdog = Watchdog::start(io, device.path, 30);
  REQUIRE(watchdog);
  CHECK(device.heard() == ".");
  // Nobody runs the io_context: time alone pets nothing.
  ::usleep(static_cast<useconds_t>(in_microseconds(limits::watchdog_period).count()) + 100'000);
  CHECK(device.heard().empty());
  CHECK(io.run_one() == 1);
  CHECK(device.heard() == ".");
  (*watchdog)->disarm();
  CHECK(device.heard() == "V");
  io.run();
  CHECK(device.heard().empty());
}

TEST_CASE("without a clean stop the watchdog goes on counting", "[watchdog]") {
  const Device device;
  {
    boost::asio::io_context io;
    REQUIRE(Watchdog::start(io, device.path, 30));
  }
  CHECK(device.heard() == ".");
}

TEST_CASE("a watchdog that is not there is named", "[watchdog]") {
  boost::asio::io_context io;
  const auto missing = Watchdog::start(io, "/nowhere/watchdog", 30);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message.find("watchdog_device /nowhere/watchdog: No such file") == 0);
}
