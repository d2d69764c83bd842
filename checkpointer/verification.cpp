#include "checkpointer/verification.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "checkpointer/image_digest.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

constexpr auto answer_patience = seconds{60};

/// What takes less is not worth a word; then one so often.
constexpr auto silent_for = seconds{2};
constexpr auto progress_every = milliseconds{500};

}  // namespace

Verification::Verification(GuestDisks* disks, VerifyOrder order, std::uint64_t bytes_per_second,
                           TimePoint now)
    : order_{std::move(order)}, tell_at_{now + silent_for} {
  if (disks != nullptr) disks_.emplace(*disks, order_.repair, bytes_per_second);
}

Result<Verification::Step> Verification::step(const Moment& moment) {
  using What = Step::What;
  if (!disks_) return Step{What::memory, {}, {}};
  if (asked_behind_ && !moment.answer) {
    if (moment.now >= patience_) return fail(ErrorKind::timed_out, "the backup did not answer");
    return Step{What::wait, {}, patience_};
  }
  if (asked_behind_) UNDERSTUDY_CHECK(take(moment));
  if (disks_->finished() && moment.committed >= repaired_in_) return Step{What::memory, {}, {}};
  tell_progress(moment.now);
  UNDERSTUDY_TRY(auto next, disks_->next(moment.now));
  if (!next.question) return Step{What::wait, {}, next.again};
  asked_behind_ = moment.sealed;
  patience_ = moment.now + answer_patience;
  return Step{What::ask, std::move(*next.question), {}};
}

Result<> Verification::take(const Moment& moment) {
  const auto behind = *std::exchange(asked_behind_, std::nullopt);
  const auto& answer = *moment.answer;
  if (answer.has_failed())
    return fail(ErrorKind::unavailable, "the backup says: {}", answer.failed());
  if (answer.disk_digest().epoch() != behind.value()) {
    return fail(ErrorKind::incompatible,
                "the backup does not say of which epoch its disks are: upgrade its daemon");
  }
  if (order_.repair == Repair::yes) repaired_in_ = moment.sealed.next();
  return disks_->take(answer.disk_digest());
}

void Verification::at_seal() {
  if (disks_) disks_->at_seal();
}

void Verification::tell_progress(TimePoint now) {
  if (now < tell_at_) return;
  tell_at_ = now + progress_every;
  order_.progress(
      order_.repair == Repair::yes ? "comparing and repairing disks" : "comparing disks",
      disks_->fraction());
}

void Verification::finish(Result<VerifyVerdict> verdict) {
  if (verdict && disks_) verdict->disks = disks_->verdicts();
  order_.done(std::move(verdict));
}

Result<std::vector<std::string>> digest_machine(hypervisor::ActiveMachine& machine,
                                                const hypervisor::DeviceState& devices) {
  ImageDigest digest{machine.layout()};
  UNDERSTUDY_CHECK(machine.read([&](PageIndex first, std::span<const std::byte> contents) {
    digest.add(first, contents);
    return Result<>{};
  }));
  auto rest = devices.bytes;
  for (PageIndex page{machine.layout().pages()}; !rest.empty(); page = page.next()) {
    std::array<std::byte, page_bytes> padded{};
    const auto size = std::min(rest.size(), page_bytes);
    std::copy_n(rest.begin(), size, padded.begin());
    digest.add(page, padded);
    rest = rest.subspan(size);
  }
  return digest.finish();
}

VerifyVerdict compare_memory(const hypervisor::RamLayout& layout,
                             const std::vector<std::string>& here,
                             const replication::VerifyReply& there) {
  const auto& blocks = layout.blocks();
  VerifyVerdict verdict{Epoch{there.epoch()}, {}, {}};
  for (std::size_t i = 0; i < here.size(); ++i) {
    const bool identical = std::cmp_less(i, there.block_digest_size()) &&
                           there.block_digest(static_cast<int>(i)) == here[i];
    if (i < blocks.size()) {
      verdict.blocks.push_back({blocks[i].name, blocks[i].max_bytes, identical});
    } else {
      verdict.blocks.push_back({"device state", 0, identical});
    }
  }
  return verdict;
}

}  // namespace understudy::checkpointer
