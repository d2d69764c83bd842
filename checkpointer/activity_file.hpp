// An activity log as a file of this host.
#pragma once

#include "checkpointer/activity_log.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {

/// One thread at a time.
class ActivityFile final : public ActivityStore {
 public:
  /// Its directory is made when it is first needed.
  explicit ActivityFile(std::string path) : path_{std::move(path)} {}

  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> load() override;
  [[nodiscard]] Result<> replace(std::span<const std::byte> file) override;
  [[nodiscard]] Result<> append(const ActivityBatch& batch) override;
  [[nodiscard]] Result<> remove() override;

 private:
  [[nodiscard]] Result<> need_directory() const;

  std::string path_;
  UniqueFd file_;
};

}  // namespace understudy::checkpointer
