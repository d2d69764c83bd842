// The disks of one guest on this host: their images, and the NBD servers through which QEMU reaches
// them.
//
// A flush of the guest returns when the image on this host has it, without asking the backup. That
// is enough. Who is outside sees nothing that follows from a write before the backup holds its
// epoch, disks included (output commit): if this host dies, the backup has all that anyone was
// told. If both hosts lose power, this host's image has it: the guest's flush had returned before
// the guest could even make the packet.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "checkpointer/activity_cleaner.hpp"
#include "checkpointer/activity_log.hpp"
#include "checkpointer/image_file.hpp"
#include "checkpointer/nbd_server.hpp"
#include "checkpointer/write_log.hpp"
#include "config/config.pb.h"
#include "hypervisor/qemu_machine.hpp"

namespace understudy::checkpointer {

/// What becomes of a write beside going to the image.
enum class DiskMode : std::uint8_t {
  standby,   ///< the backup's: refused, the replica alone writes
  plain,     ///< nothing
  tracking,  ///< its chunks are marked as to be sent
  logging,   ///< it goes into the running epoch
};

/// Thread-safe.
class GuestDisk final : public BlockDevice {
 public:
  /// `policy`: what QEMU does with an error; here it only decides what an error means to others.
  GuestDisk(std::uint16_t number, std::unique_ptr<ImageFile> image, WriteLog& log,
            config::ErrorPolicy policy = config::REPORT)
      : number_{number}, image_{std::move(image)}, log_{log}, policy_{policy} {}

  [[nodiscard]] ImageFile& image() { return *image_; }
  void set_mode(DiskMode mode);
  /// What is to know of every write; null: nobody. Before the first.
  void log_activity(ActivityLog* activity) { activity_ = activity; }
  [[nodiscard]] std::uint64_t chunks() const;
  /// A chunk's place: the last one may be shorter.
  [[nodiscard]] std::pair<std::uint64_t, std::uint32_t> chunk(std::uint64_t index) const;
  /// The chunks marked since the last call, in order.
  [[nodiscard]] std::vector<std::uint64_t> take_marked();
  /// The same for the last time: every write from now on is logged.
  [[nodiscard]] std::vector<std::uint64_t> begin_logging();
  /// Of each of these chunks, in ascending order: whether the running epoch has written to it. A
  /// write that anyone may have read from the image counts. Needs DiskMode::logging.
  [[nodiscard]] std::vector<bool> written(std::span<const std::uint64_t> chunks);
  /// Puts a chunk into the running epoch as it is, as if the guest had just written it.
  [[nodiscard]] std::error_code send_again(std::uint64_t index);
  /// The backup's is known to differ: the next synchronisation compares it.
  void doubt(std::uint64_t index);
  /// What the image last refused; empty if nothing, or if the guest's request was repeated since
  /// and succeeded.
  [[nodiscard]] std::string complaint() const;

  [[nodiscard]] std::uint64_t bytes() const override { return image_->bytes(); }
  [[nodiscard]] std::error_code read(std::uint64_t offset, std::span<std::byte> out) override;
  [[nodiscard]] std::error_code write(std::uint64_t offset, std::vector<std::byte> data) override;
  [[nodiscard]] std::error_code zero(std::uint64_t offset, std::uint32_t bytes, Hole hole) override;
  [[nodiscard]] std::error_code flush() override;

 private:
  [[nodiscard]] std::vector<std::uint64_t> take_marked_locked();
  void note(DiskWrite write);
  /// Tells of an error; or that there is none any more where the guest stood still for it.
  [[nodiscard]] std::error_code told(std::error_code error, std::string_view what);
  [[nodiscard]] bool stops_for(std::error_code error) const;

  const std::uint16_t number_;
  const std::unique_ptr<ImageFile> image_;
  WriteLog& log_;
  const config::ErrorPolicy policy_;
  ActivityLog* activity_{};
  mutable std::mutex mutex_;  ///< a write reaches image and log in one order
  DiskMode mode_{DiskMode::plain};
  std::vector<bool> marked_;
  mutable std::mutex complaint_mutex_;  ///< never held while the image is at work
  std::string complaint_;
  std::string_view stopped_for_;      ///< what the guest's request was to do; empty: it goes on
  std::atomic<bool> stands_still_{};  ///< stopped_for_ is not empty
};

class GuestDisks {
 public:
  /// Opens every image and begins to serve it.
  [[nodiscard]] static Result<std::unique_ptr<GuestDisks>> open(const config::Guest& guest);
  ~GuestDisks();
  GuestDisks(const GuestDisks&) = delete;
  GuestDisks& operator=(const GuestDisks&) = delete;

  /// From now on every write is logged in this file, and the ranges are known that an earlier
  /// synchronisation, if there is one, leaves in doubt. Before anything is written.
  [[nodiscard]] Result<> log_activity(const std::string& guest, const std::string& path);
  /// Null: none is kept.
  [[nodiscard]] ActivityLog* activity() { return activity_.get(); }
  /// Something of it may have become durable on the other host.
  void clean_activity() { cleaner_->wake(); }

  [[nodiscard]] bool empty() const { return disks_.empty(); }
  [[nodiscard]] std::size_t size() const { return disks_.size(); }
  [[nodiscard]] GuestDisk& disk(std::size_t number) { return *disks_[number]; }
  [[nodiscard]] std::vector<std::uint64_t> sizes() const;
  [[nodiscard]] WriteLog& log() { return log_; }
  void set_mode(DiskMode mode);
  /// What QEMU needs, once.
  [[nodiscard]] std::vector<hypervisor::QemuMachine::DiskWiring> take_wiring();
  /// What the images refused; empty if nothing.
  [[nodiscard]] std::string complaints() const;
  /// What a replica has that is not yet in the images; 0 if there is none.
  [[nodiscard]] std::size_t waiting_bytes() const { return waiting_bytes_; }
  void set_waiting_bytes(std::size_t bytes) { waiting_bytes_ = bytes; }

 private:
  GuestDisks() = default;
  [[nodiscard]] Result<std::vector<ImageIdentity>> identities() const;
  [[nodiscard]] std::error_code flush();

  std::atomic<std::size_t> waiting_bytes_{};
  WriteLog log_;
  std::vector<std::unique_ptr<GuestDisk>> disks_;
  std::vector<hypervisor::QemuMachine::DiskWiring> wiring_;
  std::unique_ptr<ActivityLog> activity_;
  std::unique_ptr<ActivityCleaner> cleaner_;
  std::vector<std::unique_ptr<NbdServer>> servers_;  ///< last: they use all above
};

}  // namespace understudy::checkpointer
