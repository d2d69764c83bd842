#include "checkpointer/guest_import.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "checkpointer/offer.hpp"
#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

/// Mostly holes, which cost nothing.
constexpr std::uint64_t zeros_at_once = 256U << 20U;

/// What of a guest its devices are made of.
std::vector<std::pair<std::string, std::string>> parts_of(const config::Guest& guest) {
  std::vector<std::pair<std::string, std::string>> parts{
      {"memory_mib", std::to_string(guest.memory_mib())},
      {"vcpus", std::to_string(guest.vcpus())},
      {"cpu", guest.cpu()},
      {"display", config::Display_Name(guest.display())},
      {"number of nics", std::to_string(guest.nic_size())},
      {"number of disks", std::to_string(guest.disk_size())}};
  for (int i = 0; i < guest.nic_size(); ++i) {
    const auto& nic = guest.nic(i);
    parts.emplace_back(fmt::format("nic {}", i), fmt::format("{} {} {}", nic.model(), nic.mac(),
                                                             config::Backend_Name(nic.backend())));
  }
  for (int i = 0; i < guest.disk_size(); ++i)
    parts.emplace_back(fmt::format("model of disk {}", i), guest.disk(i).model());
  return parts;
}

class GuestImport final : public CheckpointSink {
 public:
  GuestImport(hypervisor::QemuMachine& machine, GuestDisks& disks, const DiskState& state)
      : machine_{machine}, disks_{disks}, state_{state} {}

  Result<> begin(const Checkpoint& about) override;
  Result<> devices(std::span<const std::byte> piece) override;
  Result<> page(PageIndex page, ConstPage contents) override;
  Result<> disk(std::size_t disk, std::uint64_t offset,
                std::span<const std::byte> contents) override;
  /// After the file's end.
  [[nodiscard]] Result<> finish();

  [[nodiscard]] ImportedDevices take_devices() {
    return {std::move(devices_), {about_.used_bytes().begin(), about_.used_bytes().end()}};
  }
  /// The images are being overwritten.
  [[nodiscard]] bool touched_disks() const { return touched_; }

 private:
  [[nodiscard]] Result<> touch();
  [[nodiscard]] Result<> zero_until(std::size_t disk, std::uint64_t offset);
  [[nodiscard]] Result<> written(std::size_t disk, std::uint64_t bytes);

  hypervisor::QemuMachine& machine_;
  GuestDisks& disks_;
  const DiskState& state_;
  Checkpoint about_;
  std::vector<std::byte> devices_;
  bool touched_{};
  std::vector<std::uint64_t> done_;  ///< of each disk
  std::uint64_t unsynced_{};
};

Result<> GuestImport::begin(const Checkpoint& about) {
  UNDERSTUDY_CHECK(check_import(about, machine_.guest()));
  UNDERSTUDY_CHECK(check_disks(about.machine(), disks_));
  UNDERSTUDY_CHECK(check_offer(about.machine(), machine_));
  UNDERSTUDY_ASSERT(machine_.earlier().empty(), "the memory is fresh");
  about_ = about;
  done_.resize(disks_.size());
  return {};
}

Result<> GuestImport::devices(std::span<const std::byte> piece) {
  devices_.insert(devices_.end(), piece.begin(), piece.end());
  return {};
}

Result<> GuestImport::page(PageIndex page, ConstPage contents) {
  std::memcpy(machine_.image().subspan(page.value() * page_bytes).data(), contents.data(),
              page_bytes);
  return {};
}

/// What was there is neither a replica nor this guest's any more.
Result<> GuestImport::touch() {
  if (touched_ || disks_.empty()) return {};
  UNDERSTUDY_CHECK(state_.save(ImageState::incomplete));
  touched_ = true;
  return disks_.activity()->forget("the guest was imported from a checkpoint");
}

Result<> GuestImport::disk(std::size_t disk, std::uint64_t offset,
                           std::span<const std::byte> contents) {
  UNDERSTUDY_CHECK(touch());
  UNDERSTUDY_CHECK(zero_until(disk, offset));
  auto& image = disks_.disk(disk).image();
  if (const auto error = image.write(offset, contents))
    return fail_errno(image.path(), error.value());
  return written(disk, contents.size());
}

Result<> GuestImport::zero_until(std::size_t disk, std::uint64_t offset) {
  auto& image = disks_.disk(disk).image();
  while (done_[disk] < offset) {
    const auto bytes = std::min<std::uint64_t>(offset - done_[disk], zeros_at_once);
    if (const auto error = image.zero(done_[disk], bytes, Hole::allowed))
      return fail_errno(image.path(), error.value());
    done_[disk] += bytes;
    if (bytes < zeros_at_once) continue;
    if (const auto error = image.flush()) return fail_errno(image.path(), error.value());
  }
  return {};
}

/// A little at a time: whoever else uses the disk waits for no more.
Result<> GuestImport::written(std::size_t disk, std::uint64_t bytes) {
  done_[disk] += bytes;
  unsynced_ += bytes;
  if (unsynced_ < limits::checkpoint_sync_bytes) return {};
  unsynced_ = 0;
  auto& image = disks_.disk(disk).image();
  if (const auto error = image.flush()) return fail_errno(image.path(), error.value());
  return {};
}

Result<> GuestImport::finish() {
  UNDERSTUDY_CHECK(touch());
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    auto& image = disks_.disk(i).image();
    UNDERSTUDY_CHECK(zero_until(i, image.bytes()));
    if (const auto error = image.flush()) return fail_errno(image.path(), error.value());
  }
  return disks_.empty() ? Result<>{} : state_.save(ImageState::active);
}

}  // namespace

Result<> check_import(const Checkpoint& about, const config::Guest& own) {
  const auto& theirs = about.machine().guest();
  if (theirs.name() != own.name()) {
    return fail(ErrorKind::incompatible, "it is of guest {}, not of guest {}", theirs.name(),
                own.name());
  }
  std::vector<std::string> found;
  const auto here = parts_of(own);
  const auto there = parts_of(theirs);
  for (std::size_t i = 0; i < std::min(here.size(), there.size()); ++i) {
    if (here[i] == there[i]) continue;
    found.push_back(
        fmt::format("{} is {} here and {} in the checkpoint; make the guest's "
                    "configuration equal",
                    here[i].first, here[i].second, there[i].second));
  }
  for (int i = 0; i < std::min(own.disk_size(), about.machine().disk_bytes_size()); ++i) {
    const auto& path = own.disk(i).path();
    const auto bytes = about.machine().disk_bytes(i);
    std::error_code none;
    const bool regular = std::filesystem::is_regular_file(path, none);
    const auto size = regular ? std::filesystem::file_size(path, none) : bytes;
    if (!none && size == bytes) continue;
    found.push_back(fmt::format(
        "disk image {0} has not the {1} bytes of the checkpoint's; make it: truncate -s {1} {0}",
        path, bytes));
  }
  if (found.empty()) return {};
  return fail(ErrorKind::incompatible, "{}", fmt::join(found, "\n"));
}

Result<ImportedDevices> import_checkpoint(const std::string& path, hypervisor::QemuMachine& machine,
                                          GuestDisks& disks, const DiskState& state,
                                          const CheckpointProgress& progress) {
  GuestImport import{machine, disks, state};
  Result<> done = read_checkpoint(path, import, progress).map([](const auto&) {});
  if (done) done = import.finish();
  if (done) return import.take_devices();
  if (!import.touched_disks()) return fail(done.error());
  return fail(done.error().kind,
              "{}; the disk images of guest {} on this host are not whole now: import it again, or "
              "protect it to this host from another one",
              done.error().message, machine.guest().name());
}

}  // namespace understudy::checkpointer
