// Serves block devices to one NBD client over a connected stream socket. The daemon gives QEMU the
// other end, so nobody else can reach a guest's disks.
//
// Reads and writes are done one after the other, in the order of their coming, on one thread; what
// waits for the disk (flush, FUA) waits on a second one, and those that wait share one flush.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "checkpointer/block_device.hpp"
#include "checkpointer/nbd_protocol.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {

class NbdServer {
 public:
  struct Export {
    std::string name;
    BlockDevice* device;  ///< outlives the server
  };

  NbdServer(UniqueFd socket, std::vector<Export> exports);
  /// Cuts the connection and waits for what is under way.
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  /// Until the client has gone.
  void wait();

 private:
  void serve();
  [[nodiscard]] bool negotiate();
  [[nodiscard]] bool handle(const nbd::Request& request);
  [[nodiscard]] bool read(const nbd::Request& request);
  [[nodiscard]] bool write(const nbd::Request& request);
  [[nodiscard]] bool finish(const nbd::Request& request, std::error_code error);
  void flush_later(std::uint64_t handle);
  void flush_all();
  [[nodiscard]] bool reply(std::uint64_t handle, std::error_code error,
                           std::span<const std::byte> data = {});
  [[nodiscard]] bool receive(std::span<std::byte> out);
  [[nodiscard]] bool skip(std::uint32_t bytes);

  const UniqueFd socket_;
  const std::vector<Export> exports_;
  BlockDevice* device_{};
  std::vector<std::byte> read_buffer_;
  std::mutex send_mutex_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::uint64_t> flushes_;  ///< handles that wait
  bool over_{};

  std::thread flusher_;
  std::thread thread_;
};

}  // namespace understudy::checkpointer
