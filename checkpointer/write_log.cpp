#include "checkpointer/write_log.hpp"

#include <utility>

#include "config/limits.hpp"

namespace understudy::checkpointer {

void WriteLog::open(std::function<void()> hasten) {
  const std::lock_guard lock{mutex_};
  hasten_ = std::move(hasten);
}

void WriteLog::close() {
  const std::lock_guard lock{mutex_};
  hasten_ = nullptr;
  writes_.clear();
  bytes_ = 0;
  overflown_ = false;
  changed_.notify_all();
}

void WriteLog::wait_for_room() {
  std::unique_lock lock{mutex_};
  changed_.wait_for(lock, limits::disk_write_wait,
                    [this] { return hurry_ || bytes_ < limits::disk_epoch_bytes_wait; });
}

void WriteLog::append(DiskWrite write) {
  const std::lock_guard lock{mutex_};
  if (overflown_) return;
  const auto before = bytes_;
  bytes_ += disk_record_head_bytes + write.data.size();
  if (bytes_ > limits::disk_epoch_bytes_max) {
    overflown_ = true;
    writes_.clear();
  } else {
    writes_.push_back(std::move(write));
  }
  constexpr auto much = limits::disk_epoch_bytes_hasten;
  if (before < much && bytes_ >= much && hasten_) hasten_();
}

void WriteLog::hurry(bool whether) {
  const std::lock_guard lock{mutex_};
  hurry_ = whether;
  changed_.notify_all();
}

std::size_t WriteLog::bytes() const {
  const std::lock_guard lock{mutex_};
  return bytes_;
}

void WriteLog::visit(const std::function<void(const DiskWrite&)>& visit) const {
  const std::lock_guard lock{mutex_};
  for (const auto& write : writes_) visit(write);
}

Result<std::vector<DiskWrite>> WriteLog::cut() {
  const std::lock_guard lock{mutex_};
  bytes_ = 0;
  changed_.notify_all();
  if (std::exchange(overflown_, false)) {
    return fail(ErrorKind::limit, "the guest wrote more than {} MiB to its disks in one epoch",
                limits::disk_epoch_bytes_max >> 20U);
  }
  return std::exchange(writes_, {});
}

}  // namespace understudy::checkpointer
