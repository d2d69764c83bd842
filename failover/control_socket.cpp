#include "failover/control_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

namespace fs = std::filesystem;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorKind::invalid, "'{}' cannot be a socket: use 1 to {} letters", path,
                sizeof address.sun_path - 1);
  }
  std::copy(path.begin(), path.end(), std::begin(address.sun_path));
  return address;
}

// SAFETY: the sockets API takes every address as a pointer to its generic head.
const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Result<UniqueFd> make_socket() {
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) return fail_errno("making a unix socket");
  return fd;
}

Result<> make_directory(const fs::path& directory) {
  if (directory.empty()) return {};
  std::error_code error;
  if (!fs::create_directories(directory, error) && !error) return {};
  if (!error) fs::permissions(directory, fs::perms{0755}, error);
  if (error) return fail_errno(fmt::format("making {}", directory.string()), error.value());
  return {};
}

/// Leaves the path free, or says who has it.
Result<> clear(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(ErrorKind::conflict, "{} is there and is not a socket: name another control_socket",
                path);
  }
  UNDERSTUDY_TRY(const auto probe, make_socket());
  if (::connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN) {
    return fail(ErrorKind::conflict,
                "another understudyd answers on {}: stop it, or name another control_socket", path);
  }
  if (errno != ECONNREFUSED) return fail_errno(path);
  if (::unlink(path.c_str()) != 0) return fail_errno(fmt::format("removing the dead {}", path));
  return {};
}

}  // namespace

Result<UniqueFd> connect_control(const std::string& path) {
  UNDERSTUDY_TRY(const auto address, address_of(path));
  UNDERSTUDY_TRY(auto fd, make_socket());
  if (::connect(fd.get(), generic(address), sizeof address) != 0) {
    return fail(ErrorKind::unavailable, "{}: {}", path, std::generic_category().message(errno));
  }
  return fd;
}

Result<UniqueFd> listen_control(const std::string& path) {
  UNDERSTUDY_TRY(const auto address, address_of(path));
  UNDERSTUDY_CHECK(make_directory(fs::path{path}.parent_path()));
  UNDERSTUDY_CHECK(clear(path, address));
  UNDERSTUDY_TRY(auto fd, make_socket());
  // Before bind: the file is born with this mode, and nobody can connect in between.
  if (::fchmod(fd.get(), 0600) != 0 || ::bind(fd.get(), generic(address), sizeof address) != 0) {
    return fail_errno(fmt::format("listening on {}", path));
  }
  if (::listen(fd.get(), static_cast<int>(limits::control_clients)) != 0) {
    return fail_errno(fmt::format("listening on {}", path));
  }
  return fd;
}

}  // namespace understudy::failover
