#include "checkpointer/rewind.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <utility>

#include <fmt/chrono.h>

#include "checkpointer/offer.hpp"
#include "config/durable_file.hpp"
#include "config/file_space.hpp"
#include "config/limits.hpp"
#include "config/priority.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::string_view branch_suffix = ".checkpoint";
constexpr std::size_t time_text_bytes = 16;  // 20261128T131500Z

/// Its name tells the guest's, when it was abandoned, and at which epoch.
std::string branch_path(const std::string& directory, const std::string& guest, Epoch epoch,
                        UnixTime when) {
  const auto at = std::chrono::duration_cast<seconds>(when.time_since_epoch()).count();
  return fmt::format("{}/{}-{:%Y%m%dT%H%M%S}Z-{}{}", directory, guest,
                     fmt::gmtime(static_cast<std::time_t>(at)), epoch, branch_suffix);
}

Result<> check_directory(const std::string& directory, const std::string& guest,
                         std::uint64_t bytes) {
  const auto there = list_branches(directory, guest);
  if (there.size() >= limits::branches) {
    return fail(ErrorKind::limit,
                "{} branches of guest {} are in {} already; remove one, the oldest is {}",
                there.size(), guest, directory, there.back().path);
  }
  std::error_code code;
  std::filesystem::create_directories(directory, code);
  if (code) return fail_errno(directory, code.value());
  UNDERSTUDY_CHECK(sync_directory_of(directory));
  const auto room = free_bytes(directory);
  if (!room) return fail_errno(directory);
  if (*room >= bytes + limits::clone_disk_reserve) return {};
  return fail(ErrorKind::limit,
              "a branch of guest {} may need {} MiB in {}, and {} MiB must stay free; there are {}",
              guest, bytes >> 20U, directory, limits::clone_disk_reserve >> 20U, *room >> 20U);
}

/// As much as a branch of it can have.
std::uint64_t branch_bytes_max(const CloneSource& source) {
  std::uint64_t bytes = source.replica->layout().bytes() + limits::device_state_bytes;
  for (const auto& disk : source.guest.disk()) bytes += allocated_bytes(disk.path());
  return bytes;
}

/// All of it can be read and held, and the disks' part is not too much.
Result<> check_way(const HistoryPath& path, const CloneSource& source) {
  // What was merged, what it was merged from, and a margin.
  UNDERSTUDY_CHECK(check_memory(3 * path.bytes(), "going back so far"));
  const auto pages = (source.replica->layout().bytes() + limits::device_state_bytes) / page_bytes;
  for (const auto& piece : path.memory) {
    UNDERSTUDY_TRY(const auto records, piece->read());
    UNDERSTUDY_CHECK(check_records(records, pages));
  }
  const DiskUndo undo{source.disk_bytes};
  std::vector<bool> seen(undo.blocks());
  for (const auto& piece : path.disks) {
    UNDERSTUDY_TRY(const auto records, piece->read());
    UNDERSTUDY_CHECK(check_records(records, undo.blocks()));
    for_each_page_record(records, [&](const PageRecord& record) { seen[record.page] = true; });
  }
  return check_blocks_back(static_cast<std::uint64_t>(std::ranges::count(seen, true)));
}

/// A replica whose session has ended: it stands still, its disks are in the images.
class StandingReplica final : public CheckpointSource {
 public:
  StandingReplica(const CloneSource& source, GuestDisks& disks, const HistoryPoint& now,
                  const CheckpointAuthor& author)
      : replica_{*source.replica},
        disks_{disks},
        devices_{replica_.devices()},
        about_{make_checkpoint(source.machine, devices_, now.epoch, now.committed_at, author)} {}

  [[nodiscard]] const Checkpoint& about() const override { return about_; }
  [[nodiscard]] std::span<const std::byte> devices() const override { return devices_.bytes; }
  [[nodiscard]] std::span<const std::byte> memory() const override { return replica_.ram(); }
  [[nodiscard]] bool may_hold(PageIndex page) const override { return replica_.touched(page); }
  [[nodiscard]] std::error_code read_disk(std::size_t disk, std::uint64_t offset,
                                          std::span<std::byte> out) override {
    return disks_.disk(disk).image().read(offset, out);
  }
  [[nodiscard]] std::uint64_t next_data(std::size_t disk, std::uint64_t offset) override {
    return disks_.disk(disk).image().next_data(offset);
  }

 private:
  const Replica& replica_;
  GuestDisks& disks_;
  const hypervisor::DeviceState devices_;
  const Checkpoint about_;
};

/// A file that is whole and durable, or none.
Result<Branch> keep_branch(const CloneSource& source, GuestDisks& disks, const HistoryPoint& now,
                           const RewindOrder& order, const std::function<Result<>()>& go_on) {
  const OrdinaryPriority takes_long;
  const auto path = branch_path(order.branches, source.guest.name(), now.epoch, unix_now());
  StandingReplica replica{source, disks, now, order.author};
  CheckpointProgress progress;
  progress.tell = [](const std::string&, double) {};
  progress.go_on = go_on;
  UNDERSTUDY_CHECK(write_checkpoint(replica, path, IfThere::refuse, progress));
  return Branch{path, allocated_bytes(path)};
}

void remove_branch(const Branch& branch) {
  ::unlink(branch.path.c_str());
}

/// Once the disks' way is decided the branch may be the only copy of the newest epoch: who handed
/// it over may have died meanwhile.
tl::unexpected<Error> kept(const Branch& branch, const Error& why) {
  return fail(why.kind, "{}; the newest epoch is in {}, too", why.message, branch.path);
}

}  // namespace

Result<RewindPlan> plan_rewind(const CloneSource& source, const HistoryWish& wish,
                               const std::string& branches) {
  UNDERSTUDY_TRY(const auto history, history_of(source));
  UNDERSTUDY_TRY(auto found, history->find(wish));
  const auto pin = std::make_shared<const History::Pin>(std::move(found));
  const auto newest = history->report(unix_now()).newest;
  if (!newest || newest->epoch <= pin->epoch()) {
    return fail(ErrorKind::invalid, "epoch {} is the newest of guest {}: there is nothing to undo",
                pin->epoch(), source.guest.name());
  }
  const auto held = history->pin(newest->epoch);
  UNDERSTUDY_TRY(const auto path, history->path(held.epoch(), pin->epoch()));
  UNDERSTUDY_CHECK(check_way(path, source));
  const auto branch_bytes = branch_bytes_max(source);
  UNDERSTUDY_CHECK(check_directory(branches, source.guest.name(), branch_bytes));
  return RewindPlan{{pin, branches, {}, {}}, path.to, *newest, branch_bytes};
}

RewindOutcome rewind(const CloneSource& source, GuestDisks& disks, const RewindOrder& order,
                     const std::function<Result<>()>& go_on) {
  auto& replica = *source.replica;
  const auto way = replica.find_way_back(order.to->epoch());
  if (!way) return {fail(way.error()), {}};
  const auto still_wanted = [&]() -> Result<> {
    if (order.stop.stop_requested()) return fail(ErrorKind::closed, "the command was ended");
    return go_on();
  };
  const auto branch = keep_branch(source, disks, way->from, order, still_wanted);
  if (!branch) return {fail(branch.error().within("its future could not be kept")), {}};
  auto decided = still_wanted();
  if (decided) decided = replica.log_way_back(*way);
  if (!decided) {
    remove_branch(*branch);
    return {fail(decided.error()), {}};
  }
  if (const auto gone = replica.go_back(*way); !gone) {
    return {kept(*branch, gone.error()), gone};
  }
  return {Rewound{way->from, way->to, *branch}, {}};
}

tl::unexpected<Error> undone(const Rewound& rewound, const Error& why) {
  return kept(rewound.branch, why);
}

std::string branch_directory(const config::Guest& guest, const std::string& state_dir) {
  const auto& own = guest.history().directory();
  return (own.empty() ? state_dir : own) + "/branches";
}

std::vector<Branch> list_branches(const std::string& directory, const std::string& guest) {
  std::vector<Branch> found;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator{directory, code}) {
    const auto name = entry.path().filename().string();
    // A guest's name may begin another's: what follows it is the time.
    const bool is_one = name.starts_with(guest + "-") && name.ends_with(branch_suffix) &&
                        name.find('-', guest.size() + 1) == guest.size() + 1 + time_text_bytes;
    if (is_one) found.push_back({entry.path().string(), allocated_bytes(entry.path().string())});
  }
  std::ranges::sort(found, std::greater{}, &Branch::path);
  return found;
}

}  // namespace understudy::checkpointer
