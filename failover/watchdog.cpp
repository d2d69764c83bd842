#include "failover/watchdog.hpp"

#include <fcntl.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::failover {
namespace {

constexpr char pat = '.';
constexpr char magic_close = 'V';

}  // namespace

Result<std::unique_ptr<Watchdog>> Watchdog::start(boost::asio::io_context& io,
                                                  const std::string& device, int timeout_s) {
  UniqueFd fd{::open(device.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return fail_errno("watchdog_device " + device);
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<Watchdog> watchdog{new Watchdog{io, device, std::move(fd)}};
  watchdog->set_timeout(timeout_s);
  watchdog->pet();
  return watchdog;
}

Watchdog::Watchdog(boost::asio::io_context& io, std::string device, UniqueFd fd)
    : device_{std::move(device)}, fd_{std::move(fd)}, timer_{io} {}

void Watchdog::set_timeout(int timeout_s) {
  // SAFETY: the ioctl reads and writes one int, and the descriptor is ours.
  if (::ioctl(fd_.get(), WDIOC_SETTIMEOUT, &timeout_s) == 0) {
    return log::info("watchdog.armed", {log::kv("device", device_), log::kv("seconds", timeout_s)});
  }
  log::warning(
      "watchdog.keeps_its_timeout",
      {log::kv("device", device_), log::kv("why", std::generic_category().message(errno))});
}

void Watchdog::pet() {
  write(pat);
  timer_.expires_after(limits::watchdog_period);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) pet();
  });
}

void Watchdog::disarm() {
  timer_.cancel();
  if (!fd_) return;
  write(magic_close);
  fd_.reset();
  log::info("watchdog.disarmed", {log::kv("device", device_)});
}

void Watchdog::write(char word) {
  const bool written = ::write(fd_.get(), &word, 1) == 1;
  if (!written && !complained_) {
    log::error("watchdog.not_petted", {log::kv("device", device_),
                                       log::kv("why", std::generic_category().message(errno))});
  }
  complained_ = !written;
}

}  // namespace understudy::failover
