// Disk images in a directory of their own, gone with it.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "checkpointer/disk_replica.hpp"
#include "config/assert.hpp"
#include "memory.hpp"
#include "tests/unit/failover/temporary_directory.hpp"

namespace understudy::checkpointer {

inline constexpr std::uint64_t small_disk_bytes = 300'032;  // no multiple of a chunk

class DiskDirectory {
 public:
  [[nodiscard]] std::string path() const { return directory_.path().string(); }
  [[nodiscard]] std::string image(int number) const {
    return path() + "/" + std::to_string(number) + ".img";
  }
  /// A guest with so many disks of zeros.
  [[nodiscard]] config::Guest guest(int disks, std::uint64_t bytes = small_disk_bytes) const {
    config::Guest guest;
    guest.set_name("pg");
    for (int i = 0; i < disks; ++i) {
      std::ofstream{image(i)};
      std::filesystem::resize_file(image(i), bytes);
      guest.add_disk()->set_path(image(i));
    }
    return guest;
  }
  [[nodiscard]] std::string contents(int number) const {
    std::string bytes(std::filesystem::file_size(image(number)), '\0');
    std::ifstream{image(number), std::ios::binary}.read(bytes.data(), std::ssize(bytes));
    return bytes;
  }

 private:
  TemporaryDirectory directory_;
};

/// A guest's disks on both hosts.
struct DiskPair {
  explicit DiskPair(int number, std::uint64_t bytes = small_disk_bytes)
      : active{*GuestDisks::open(here.guest(number, bytes))},
        standby{*GuestDisks::open(there.guest(number, bytes))} {}

  DiskDirectory here;
  DiskDirectory there;
  std::unique_ptr<GuestDisks> active;
  std::unique_ptr<GuestDisks> standby;
};

/// One record of data, as it travels.
inline std::vector<std::byte> data_record(std::uint16_t disk, std::uint64_t offset,
                                          std::span<const std::byte> data) {
  std::vector<std::byte> bytes(disk_record_head_bytes + data.size() + 1);
  DiskRecord record{disk, DiskContents::data, offset, static_cast<std::uint32_t>(data.size()),
                    data};
  bytes.resize(encode_disk_record(record, bytes));
  return bytes;
}

}  // namespace understudy::checkpointer
