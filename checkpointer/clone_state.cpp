#include "checkpointer/clone_state.hpp"

#include <thread>
#include <utility>

#include "checkpointer/disk_undo.hpp"
#include "checkpointer/offer.hpp"
#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {

Result<std::shared_ptr<History>> history_of(const CloneSource& source) {
  if (const auto& history = source.replica->history()) return history;
  return fail(ErrorKind::conflict,
              "no history of guest {} is kept here; give it history {{}} in this host's "
              "configuration, and protect it anew",
              source.guest.name());
}

Result<std::optional<History::Pin>> find_past(const CloneSource& source,
                                              const std::optional<HistoryWish>& moment) {
  if (!moment) return std::nullopt;
  UNDERSTUDY_TRY(const auto history, history_of(source));
  UNDERSTUDY_TRY(auto pin, history->find(*moment));
  return pin;
}

Result<std::unique_ptr<CloneState>> CloneState::prepare(CloneSource source,
                                                        const std::string& directory,
                                                        std::uint64_t memory) {
  UNDERSTUDY_CHECK(check_memory(memory + limits::clone_memory_reserve, "a clone of the guest"));
  std::shared_ptr<DiskSnapshot> disks;
  if (!source.disk_bytes.empty()) {
    UNDERSTUDY_TRY(disks, DiskSnapshot::create(directory, source.disk_bytes));
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<CloneState> state{new CloneState{std::move(source), std::move(disks)}};
  for (std::size_t i = 0; i < state->source_.disk_bytes.size(); ++i) {
    UNDERSTUDY_TRY(auto own, ChunkStore::create(directory, state->disks_->bytes(i)));
    state->devices_.push_back(std::make_unique<CloneDisk>(state->disks_, i, std::move(own)));
  }
  return state;
}

CloneState::~CloneState() {
  server_.reset();
  if (ram_) source_.replica->thaw(ram_, disks_);
}

Result<> CloneState::freeze(std::span<std::byte> image,
                            std::shared_ptr<hypervisor::PagesOnDemand> on_demand) {
  image_ = image;
  auto target = RamSnapshot::into(image);
  const auto shared_pages =
      on_demand ? source_.replica->layout().blocks().front().max_bytes / page_bytes : 0;
  if (on_demand) {
    target = [own = target, on_demand, shared_pages](std::size_t page, auto contents) {
      if (page < shared_pages) return on_demand->give(page, contents);
      own(page, contents);
    };
  }
  auto ram = std::make_shared<RamSnapshot>(source_.replica->ram(), std::move(target), shared_pages);
  UNDERSTUDY_TRY(frozen_, source_.replica->freeze(ram, disks_));
  ram_ = std::move(ram);
  committed_at_ = unix_now() - in_microseconds(now() - frozen_.committed_at);
  if (on_demand) server_.emplace(ram_, std::move(on_demand));
  return {};
}

Result<> CloneState::copy(const CheckpointProgress& progress) {
  for (bool more = true; more;) {
    UNDERSTUDY_CHECK(progress.go_on());
    const auto begun = now();
    more = ram_->copy(limits::clone_copy_pages);
    progress.tell("copying the memory", ram_->fraction());
    std::this_thread::sleep_for((now() - begun) * progress.rest);
  }
  if (!ram_->complete()) return fail(ErrorKind::closed, "the replica is no more");
  if (!server_) source_.replica->thaw(ram_, nullptr);
  while (disks_ && !disks_->wait_until_settled(limits::clone_disk_step)) {
    UNDERSTUDY_CHECK(progress.go_on());
    UNDERSTUDY_CHECK(check());
    progress.tell("waiting for the disks", -1);
  }
  return check();
}

Result<HistoryPoint> CloneState::go_back(Epoch epoch) {
  const auto& history = source_.replica->history();
  UNDERSTUDY_ASSERT(history && frozen_.pin, "only a replica with a history has an earlier epoch");
  UNDERSTUDY_TRY(const auto path, history->path(frozen_.epoch, epoch));
  const ImageView image{image_, frozen_.device_area.bytes()};
  const auto fetched = [this](std::uint64_t page) { static_cast<void>(ram_->fetch(page)); };
  for (const auto& piece : path.memory) {
    UNDERSTUDY_TRY(const auto records, piece->read());
    UNDERSTUDY_CHECK(check_records(records, image.pages()));
    apply_records(records, image, fetched);
  }
  UNDERSTUDY_CHECK(check());  // or a page could not be fetched
  const DiskUndo undo{source_.disk_bytes};
  std::vector<BlockDevice*> devices;
  for (const auto& device : devices_) devices.push_back(device.get());
  for (const auto& piece : path.disks) {
    UNDERSTUDY_TRY(const auto records, piece->read());
    UNDERSTUDY_CHECK(check_records(records, undo.blocks()));
    if (const auto error = undo.apply(records, devices))
      return fail_errno("the clone's disks", error.value());
  }
  const auto state = image.devices.first(path.to.device_bytes);
  frozen_.epoch = path.to.epoch;
  frozen_.devices.assign(state.begin(), state.end());
  frozen_.used_bytes = path.to.used_bytes;
  frozen_.pin.reset();
  committed_at_ = path.to.committed_at;
  return path.to;
}

Result<> CloneState::check() const {
  if (server_) UNDERSTUDY_CHECK(server_->check());
  if (!disks_) return {};
  if (const auto why = disks_->broken(); !why.empty())
    return fail(ErrorKind::closed, "the clone's disks: {}", why);
  return {};
}

}  // namespace understudy::checkpointer
