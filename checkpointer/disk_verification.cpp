#include "checkpointer/disk_verification.hpp"

#include <algorithm>
#include <utility>

#include "checkpointer/disk_chunks.hpp"
#include "checkpointer/disk_digest.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::checkpointer {
namespace {

/// In one question. Short: commits wait on the backup, and a seal here, while it is answered; and
/// so many chunks may be looked at while the guest is paused.
constexpr std::uint64_t chunks_asked = 16;

constexpr std::size_t offsets_told = 8;

}  // namespace

DiskVerification::DiskVerification(GuestDisks& disks, Repair repair, std::uint64_t bytes_per_second)
    : disks_{disks}, repair_{repair}, rate_{bytes_per_second} {}

Result<DiskVerification::Next> DiskVerification::next(TimePoint now) {
  constexpr auto later = TimePoint::max();
  // Repairs must not fill the epoch before the guest has.
  const bool full = disks_.log().bytes() >= limits::disk_epoch_bytes_hasten;
  if (finished() || asked_ || full) return Next{{}, later};
  if (now < due_) return Next{{}, due_};
  UNDERSTUDY_TRY(asked_, look());
  if (!asked_) return Next{{}, later};
  const auto bytes = asked_->chunks.size() * limits::disk_chunk_bytes;
  due_ = rate_.spend(bytes + std::exchange(sent_again_, 0), now);
  replication::DiskDigestRequest question;
  question.set_disk(static_cast<std::uint32_t>(verdicts_.size()));
  for (const auto chunk : asked_->chunks) question.add_chunk(chunk);
  return Next{std::move(question), later};
}

Result<std::optional<DiskVerification::Asked>> DiskVerification::look() {
  if (doubtful_.empty()) {
    auto chunks = chunk_range(position_, std::min(chunks_asked, disk().chunks() - position_));
    UNDERSTUDY_TRY(auto ours, digest_chunks(disk(), chunks));
    auto written = disk().written(chunks);  // after reading: nothing that was read is missed
    position_ += chunks.size();
    return Asked{std::move(chunks), std::move(ours), std::move(written)};
  }
  if (!at_seal_) return std::optional<Asked>{};
  UNDERSTUDY_TRY(auto ours, *std::exchange(at_seal_, std::nullopt));
  std::vector<bool> written(doubtful_.size());
  return Asked{std::exchange(doubtful_, {}), std::move(ours), std::move(written)};
}

void DiskVerification::at_seal() {
  if (!doubtful_.empty()) at_seal_ = digest_chunks(disk(), doubtful_);
}

Result<> DiskVerification::take(const replication::DiskDigestReply& answer) {
  const auto asked = std::exchange(asked_, std::nullopt);
  if (!asked || std::cmp_not_equal(answer.chunk_digest_size(), asked->chunks.size()))
    return fail(ErrorKind::protocol, "the backup digested {} chunks", answer.chunk_digest_size());
  for (std::size_t i = 0; i < asked->chunks.size(); ++i) {
    if (answer.chunk_digest(static_cast<int>(i)) == asked->ours[i]) continue;
    if (asked->written[i]) {
      doubtful_.push_back(asked->chunks[i]);
    } else {
      UNDERSTUDY_CHECK(differs(asked->chunks[i]));
    }
  }
  if (doubtful_.empty() && position_ == disk().chunks()) finish_disk();
  return {};
}

Result<> DiskVerification::differs(std::uint64_t chunk) {
  const auto [offset, bytes] = disk().chunk(chunk);
  ++verdict_.different;
  if (verdict_.different_at.size() < offsets_told) verdict_.different_at.push_back(offset);
  if (repair_ == Repair::no) {
    disk().doubt(chunk);
    return {};
  }
  if (const auto error = disk().send_again(chunk))
    return fail_errno(disk().image().path(), error.value());
  ++verdict_.repaired;
  sent_again_ += bytes;
  return {};
}

void DiskVerification::finish_disk() {
  verdict_.path = disk().image().path();
  verdict_.bytes = disk().bytes();
  std::ranges::sort(verdict_.different_at);
  if (verdict_.different > 0) {
    log::warning("disk.differs",
                 {log::kv("path", verdict_.path), log::kv("chunks", verdict_.different),
                  log::kv("first", verdict_.different_at.front()),
                  log::kv("sent_again", verdict_.repaired)});
  }
  verdicts_.push_back(std::exchange(verdict_, {}));
  position_ = 0;
}

double DiskVerification::fraction() const {
  if (finished()) return 1;
  const auto chunks = static_cast<double>(disks_.disk(verdicts_.size()).chunks());
  return (static_cast<double>(verdicts_.size()) + static_cast<double>(position_) / chunks) /
         static_cast<double>(disks_.size());
}

}  // namespace understudy::checkpointer
