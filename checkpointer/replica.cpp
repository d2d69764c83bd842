#include "checkpointer/replica.hpp"

#include <cstring>
#include <utility>

#include "checkpointer/capture.hpp"
#include "checkpointer/image_digest.hpp"
#include "checkpointer/input_codec.hpp"
#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::uint64_t pages_between_questions = 1024;

/// Pieces of a history, the newest first, as one that has passed check_records.
Result<UndoRecords> read_merged(const std::vector<HistoryStore::PiecePointer>& pieces,
                                std::uint64_t pages) {
  std::vector<std::vector<std::byte>> contents;
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    UNDERSTUDY_TRY(auto records, (*piece)->read());
    UNDERSTUDY_CHECK(check_records(records, pages));
    contents.push_back(std::move(records));
  }
  const std::vector<std::span<const std::byte>> parts{contents.begin(), contents.end()};
  return merge_undo(parts);
}

}  // namespace

Result<std::shared_ptr<Replica>> Replica::create(const hypervisor::RamLayout& layout,
                                                 std::span<std::byte> image,
                                                 std::function<void(const Error&)> on_over,
                                                 std::function<void(Epoch)> on_first_commit,
                                                 std::unique_ptr<DiskReplica> disks,
                                                 std::shared_ptr<History> history,
                                                 std::span<std::byte> earlier) {
  UNDERSTUDY_ASSERT(image.size() == layout.bytes(), "the image has the layout's size");
  UNDERSTUDY_TRY(auto device_area, Mapping::anonymous(limits::device_state_bytes));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::shared_ptr<Replica>{new Replica{layout, image, std::move(device_area),
                                              std::move(on_over), std::move(on_first_commit),
                                              std::move(disks), std::move(history), earlier}};
}

Replica::Replica(const hypervisor::RamLayout& layout, std::span<std::byte> image,
                 Mapping device_area, std::function<void(const Error&)> on_over,
                 std::function<void(Epoch)> on_first_commit, std::unique_ptr<DiskReplica> disks,
                 std::shared_ptr<History> history, std::span<std::byte> earlier)
    : layout_{layout},
      image_{image, device_area.bytes()},
      device_area_{std::move(device_area)},
      touched_(image_.pages()),
      earlier_{earlier},
      on_over_{std::move(on_over)},
      on_first_commit_{std::move(on_first_commit)},
      disks_{std::move(disks)},
      history_{std::move(history)} {}

Result<> Replica::on_sync_pages(std::span<const std::byte> payload) {
  UNDERSTUDY_CHECK(check_records(payload, image_.pages()));
  const std::lock_guard image{image_mutex_};
  UNDERSTUDY_CHECK(need_image());
  if (history_ && status().committed != Epoch{}) history_->lose("the guest is copied anew");
  earlier_.settle();
  apply(payload);
  return {};
}

void Replica::apply(std::span<const std::byte> payload) {
  apply_records(payload, image_, [this](std::uint64_t page) {
    for (const auto& snapshot : snapshots_) snapshot->preserve(page);
    touched_[page] = true;
  });
}

Result<FrozenEpoch> Replica::freeze(const std::shared_ptr<RamSnapshot>& ram,
                                    std::shared_ptr<DiskSnapshot> disks) {
  const std::lock_guard image{image_mutex_};
  UNDERSTUDY_CHECK(need_image());
  const auto now = status();
  if (now.over) return fail(ErrorKind::closed, "the replica's session has ended: {}", now.why_over);
  if (now.committed == Epoch{}) return fail(ErrorKind::conflict, "the replica is not complete yet");
  const auto state = devices();
  FrozenEpoch frozen{now.committed,
                     now.last_commit,
                     {state.bytes.begin(), state.bytes.end()},
                     state.used_bytes,
                     {},
                     {}};
  if (history_) {
    UNDERSTUDY_TRY(frozen.device_area, Mapping::anonymous(limits::device_state_bytes));
    frozen.pin = std::make_shared<History::Pin>(history_->pin(now.committed));
    const auto area = image_.devices;
    for (std::size_t at = 0; at < area.size(); at += page_bytes) {
      if (touched_[(image_.ram.size() + at) / page_bytes])
        std::memcpy(frozen.device_area.bytes().data() + at, area.data() + at, page_bytes);
    }
  }
  ram->begin(touched_);
  snapshots_.push_back(ram);
  if (disks_) disks_->freeze(std::move(disks));
  return frozen;
}

void Replica::thaw(const std::shared_ptr<RamSnapshot>& ram,
                   const std::shared_ptr<DiskSnapshot>& disks) {
  const std::lock_guard image{image_mutex_};
  if (ram) ram->detach();
  std::erase(snapshots_, ram);
  if (disks && disks_) disks_->thaw(disks);
}

void Replica::thaw_all() {
  for (const auto& snapshot : snapshots_) snapshot->detach();
  snapshots_.clear();
  if (disks_) disks_->thaw_all();
}

Result<> Replica::need_image() const {
  if (abandoned_) return fail(ErrorKind::closed, "the standby machine of this replica is gone");
  return {};
}

Result<> Replica::on_check(std::span<const std::byte> payload) {
  UNDERSTUDY_CHECK(check_records(payload, image_.pages()));
  return {};
}

Result<> Replica::on_sync_disk(std::span<const std::byte> payload) {
  const std::lock_guard image{image_mutex_};
  UNDERSTUDY_CHECK(need_image());
  return disks_ ? disks_->synchronise(payload) : ReplicaEvents::on_sync_disk(payload);
}

Result<> Replica::on_check_disk(std::span<const std::byte> payload) {
  const std::lock_guard image{image_mutex_};
  UNDERSTUDY_CHECK(need_image());
  return disks_ ? disks_->check(payload) : ReplicaEvents::on_check_disk(payload);
}

Result<> Replica::on_check_seal(const replication::Seal& seal) {
  const auto& blocks = layout_.blocks();
  if (seal.device_bytes() == 0 || seal.device_bytes() > limits::device_state_bytes) {
    return fail(ErrorKind::protocol, "{} bytes of device state; 1 to {} are possible",
                seal.device_bytes(), limits::device_state_bytes);
  }
  if (std::cmp_not_equal(seal.used_bytes_size(), blocks.size())) {
    return fail(ErrorKind::protocol, "the seal speaks of {} RAM blocks; there are {}",
                seal.used_bytes_size(), blocks.size());
  }
  for (int i = 0; i < seal.used_bytes_size(); ++i) {
    const auto& block = blocks[static_cast<std::size_t>(i)];
    if (seal.used_bytes(i) > block.max_bytes) {
      return fail(ErrorKind::protocol, "RAM block {} cannot hold {} bytes", block.name,
                  seal.used_bytes(i));
    }
  }
  const std::lock_guard image{image_mutex_};
  UNDERSTUDY_CHECK(need_image());
  return disks_ ? disks_->wait_for_room() : Result<>{};
}

void Replica::on_commit(const replication::StagedEpoch& epoch) {
  const std::lock_guard image{image_mutex_};
  if (abandoned_) return;  // since its seal was checked; nobody can be given this replica any more
  earlier_.settle();
  const auto committed = status().committed;
  const bool has_past = history_ && committed != Epoch{};
  UndoRecords undo;
  for (const auto& payload : epoch.payloads) {
    if (has_past) append_undo(payload, image_, undo);
    apply(payload);
  }
  auto before = point(committed, committed_at_);
  last_seal_ = epoch.seal;
  committed_at_ = unix_now();
  if (has_past)
    history_->changed(std::move(before), point(epoch.epoch, committed_at_), std::move(undo));
  if (disks_) disks_->commit(epoch.disk_payloads, epoch.epoch);
  bool first = false;
  {
    const std::lock_guard lock{mutex_};
    UNDERSTUDY_ASSERT(epoch.epoch == status_.committed.next(),
                      "epochs are applied in order, none left out");
    first = status_.committed == Epoch{};
    status_.committed = epoch.epoch;
    status_.last_commit = now();
    forget_input(epoch.epoch);
  }
  if (first) on_first_commit_(epoch.epoch);
}

Result<> Replica::on_input(Epoch epoch, std::span<const std::byte> payload) {
  UNDERSTUDY_CHECK(check_input(payload));
  const std::lock_guard lock{mutex_};
  if (epoch <= status_.committed || input_bytes_ + payload.size() > limits::input_kept_bytes)
    return {};
  input_.emplace_back(epoch, std::vector(payload.begin(), payload.end()));
  input_bytes_ += payload.size();
  return {};
}

void Replica::forget_input(Epoch committed) {
  while (!input_.empty() && input_.front().first <= committed) {
    input_bytes_ -= input_.front().second.size();
    input_.pop_front();
  }
}

void Replica::give_input(const std::function<void(std::size_t, std::span<const std::byte>)>& give) {
  const auto input = [this] {
    const std::lock_guard lock{mutex_};
    return std::exchange(input_, {});
  }();
  for (const auto& [epoch, payload] : input) for_each_input(payload, give);
}

HistoryPoint Replica::point(Epoch epoch, UnixTime committed_at) const {
  return {epoch,
          committed_at,
          last_seal_.device_bytes(),
          {last_seal_.used_bytes().begin(), last_seal_.used_bytes().end()}};
}

replication::Reply Replica::on_request(const replication::Request& request,
                                       const replication::KeepGoing& keep_going) {
  replication::Reply reply;
  reply.set_id(request.id());
  const std::lock_guard image{image_mutex_};
  if (const auto there = need_image(); !there) {
    reply.set_failed(there.error().message);
  } else if (request.has_verify() && (request.verify().memory_only() || !disks_)) {
    answer_verify(reply, keep_going);
  } else if (request.has_verify()) {
    reply.set_failed("it compares disks while the guest runs, which this host cannot yet: upgrade");
  } else if (request.has_disk_digest() && disks_) {
    answer_disk_digest(request.disk_digest(), reply);
  } else if (request.has_disk_map() && disks_) {
    answer_disk_map(request.disk_map(), reply);
  } else if (request.has_disk_durable() && disks_) {
    *reply.mutable_disk_durable() = disks_->durable();
  } else if (request.has_memory_digest() || request.has_memory_keep()) {
    answer_memory(request, reply, keep_going);
  } else {
    reply.set_failed("this backup does not know such a request");
  }
  return reply;
}

void Replica::answer_verify(replication::Reply& reply, const replication::KeepGoing& keep_going) {
  const auto blocks = digest(keep_going);
  if (!blocks) return reply.set_failed("the session is ending");
  reply.mutable_verify()->set_epoch(status().committed.value());
  for (const auto& block : *blocks) reply.mutable_verify()->add_block_digest(block);
}

void Replica::answer_memory(const replication::Request& request, replication::Reply& reply,
                            const replication::KeepGoing& keep_going) {
  Result<> done;
  if (request.has_memory_keep()) {
    const auto stays = [this](std::uint64_t page) { touched_[page] = true; };
    done = earlier_.keep(request.memory_keep(), stays, keep_going);
    if (done) reply.mutable_memory_keep();
  } else if (auto digests = earlier_.digests(request.memory_digest()); digests) {
    reply.mutable_memory_digest()->set_digests(std::move(*digests));
  } else {
    done = fail(digests.error());
  }
  if (!done) reply.set_failed(done.error().message);
}

void Replica::answer_disk_digest(const replication::DiskDigestRequest& request,
                                 replication::Reply& reply) {
  const auto chunks = disks_->digest_chunks(request);
  if (!chunks) return reply.set_failed(chunks.error().message);
  auto& answer = *reply.mutable_disk_digest();
  answer.set_epoch(status().committed.value());
  for (const auto& chunk : *chunks) answer.add_chunk_digest(chunk);
}

void Replica::answer_disk_map(const replication::DiskMapRequest& request,
                              replication::Reply& reply) {
  auto map = disks_->map(request);
  if (!map) return reply.set_failed(map.error().message);
  *reply.mutable_disk_map() = std::move(*map);
}

Result<WayBack> Replica::find_way_back(Epoch to) {
  if (!history_) return fail(ErrorKind::conflict, "no history is kept here");
  const auto from = point(status().committed, committed_at_);
  if (disks_) UNDERSTUDY_CHECK(disks_->wait_until_applied([] { return true; }));
  UNDERSTUDY_TRY(const auto path, history_->path(from.epoch, to));
  WayBack way{from, path.to, {}, {}};
  UNDERSTUDY_TRY(way.memory, read_merged(path.memory, image_.pages()));
  if (disks_) {
    UNDERSTUDY_TRY(way.disks, read_merged(path.disks, disks_->blocks()));
  }
  return way;
}

Result<> Replica::log_way_back(const WayBack& way) {
  return disks_ ? disks_->log_back(way.disks) : Result<>{};
}

Result<> Replica::go_back(const WayBack& way) {
  const std::lock_guard image{image_mutex_};
  UNDERSTUDY_CHECK(need_image());
  apply(way.memory);
  last_seal_.set_device_bytes(way.to.device_bytes);
  last_seal_.mutable_used_bytes()->Assign(way.to.used_bytes.begin(), way.to.used_bytes.end());
  committed_at_ = way.to.committed_at;
  {
    const std::lock_guard lock{mutex_};
    status_.committed = way.to.epoch;
    input_.clear();
    input_bytes_ = 0;
  }
  return disks_ ? disks_->go_back() : Result<>{};
}

Result<> Replica::finish_disks() {
  const std::lock_guard image{image_mutex_};
  if (!disks_) return {};
  UNDERSTUDY_CHECK(disks_->finish());
  disks_.reset();
  return {};
}

void Replica::on_end(const Error& reason) {
  {
    const std::lock_guard image{image_mutex_};
    thaw_all();  // the image is about to be another's
  }
  {
    const std::lock_guard lock{mutex_};
    status_.over = true;
    status_.why_over = reason.message;
  }
  on_over_(reason);
}

void Replica::abandon() {
  const std::lock_guard image{image_mutex_};
  abandoned_ = true;
  thaw_all();
  disks_.reset();
}

ReplicaStatus Replica::status() const {
  const std::lock_guard lock{mutex_};
  return status_;
}

hypervisor::DeviceState Replica::devices() const {
  return {device_area_.bytes().first(last_seal_.device_bytes()),
          {last_seal_.used_bytes().begin(), last_seal_.used_bytes().end()}};
}

std::optional<std::vector<std::string>> Replica::digest(
    const replication::KeepGoing& keep_going) const {
  ImageDigest digest{layout_};
  const auto used_device_pages = (last_seal_.device_bytes() + page_bytes - 1) / page_bytes;
  for (std::uint64_t page = 0; page < layout_.pages() + used_device_pages; ++page) {
    if (page % pages_between_questions == 0 && !keep_going()) return std::nullopt;
    if (touched_[page]) digest.add(PageIndex{page}, {image_.page(page), page_bytes});
  }
  return digest.finish();
}

}  // namespace understudy::checkpointer
