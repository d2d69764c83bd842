// nbd_serve SOCKET IMAGE...: the daemon's NBD server on a unix socket, so that other programs'
// clients can try it. The exports are disk0, disk1, ... Ends with its standard input.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <list>

#include "checkpointer/guest_disks.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

UniqueFd listen_on(const char* path) {
  UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  // SAFETY: the kernel's way to take any kind of address.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 16) != 0) {
    std::perror(path);
    std::exit(1);
  }
  return socket;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  WriteLog log;
  std::vector<std::unique_ptr<GuestDisk>> disks;
  std::vector<NbdServer::Export> exports;
  for (int i = 2; i < count; ++i) {
    auto image = ImageFile::open(words[i]);
    if (!image) {
      std::fprintf(stderr, "%s\n", image.error().message.c_str());
      return 1;
    }
    const auto number = static_cast<std::uint16_t>(disks.size());
    disks.push_back(std::make_unique<GuestDisk>(number, std::move(*image), log));
    exports.push_back({hypervisor::disk_export(number), disks.back().get()});
  }
  const auto listener = listen_on(words[1]);
  std::puts("ready");
  std::fflush(stdout);
  std::list<NbdServer> servers;
  while (true) {
    pollfd waiting[2]{{listener.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    ::poll(waiting, 2, -1);
    if (waiting[1].revents != 0) return 0;
    servers.emplace_back(UniqueFd{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)},
                         exports);
  }
}
