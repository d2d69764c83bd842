#include "checkpointer/earlier_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "config/content_hash.hpp"
#include "config/limits.hpp"
#include "replication/random_number.hpp"

namespace understudy::checkpointer {
namespace {

constexpr unsigned bits_per_byte = 8;

/// Between two questions whether to go on.
constexpr std::uint64_t pages_at_once = 8192;

static_assert(limits::memory_digests * ContentHash::bytes + 64 <= limits::frame_payload_bytes,
              "digests of a question's pages fit a reply");

std::string page_digest(std::span<const std::byte> memory, std::uint64_t page, std::uint64_t seed) {
  return content_hash(memory.subspan(page * page_bytes, page_bytes), seed);
}

/// A run of pages that the backup is asked about at once.
struct Window {
  std::uint64_t first{};
  std::uint64_t count{};
};

}  // namespace

Result<EqualMemory> find_equal_memory(hypervisor::ActiveMachine& machine,
                                      std::span<std::byte> shadow, const AskBackup& ask) {
  EqualMemory found;
  Window window;
  const auto seed = replication::random_number();
  bool nothing_there = false;
  const auto compare = [&]() -> Result<> {
    const auto [first, count] = std::exchange(window, {});
    if (count == 0) return {};
    replication::Request question;
    question.mutable_memory_digest()->set_first_page(first);
    question.mutable_memory_digest()->set_pages(count);
    question.mutable_memory_digest()->set_seed(seed);
    UNDERSTUDY_TRY(const auto reply, ask(std::move(question)));
    const std::string_view theirs = reply.memory_digest().digests();
    nothing_there = theirs.empty();
    if (!nothing_there && theirs.size() != count * ContentHash::bytes)
      return fail(ErrorKind::protocol, "the backup did not digest the {} pages asked for", count);
    replication::Request answer;
    auto& keep = *answer.mutable_memory_keep();
    keep.set_first_page(first);
    keep.set_pages(count);
    keep.mutable_kept()->resize((count + bits_per_byte - 1) / bits_per_byte);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto at = i * ContentHash::bytes;
      if (!nothing_there &&
          page_digest(shadow, first + i, seed) == theirs.substr(at, ContentHash::bytes)) {
        auto& bits = (*keep.mutable_kept())[i / bits_per_byte];
        bits = static_cast<char>(static_cast<unsigned char>(bits) | 1U << i % bits_per_byte);
        ++found.equal;
      } else {
        std::ranges::fill(shadow.subspan((first + i) * page_bytes, page_bytes), std::byte{});
      }
    }
    if (nothing_there) return {};
    found.compared += count;
    UNDERSTUDY_CHECK(ask(std::move(answer)));
    return {};
  };
  const auto take = [&](PageIndex page, std::span<const std::byte> contents) -> Result<> {
    for (auto at = page.value(); !contents.empty() && !nothing_there;) {
      if (window.first + window.count != at || window.count == limits::memory_digests)
        UNDERSTUDY_CHECK(compare());
      if (nothing_there) break;
      if (window.count == 0) window.first = at;
      const auto count =
          std::min(contents.size() / page_bytes, limits::memory_digests - window.count);
      const auto bytes = count * page_bytes;
      std::ranges::copy(contents.first(bytes),
                        shadow.begin() + static_cast<std::ptrdiff_t>(at * page_bytes));
      contents = contents.subspan(bytes);
      window.count += count;
      at += count;
    }
    return {};
  };
  UNDERSTUDY_CHECK(machine.read(take));
  UNDERSTUDY_CHECK(compare());
  if (found.compared > 0) {
    replication::Request rest;
    rest.mutable_memory_keep()->set_first_page(machine.layout().pages());
    UNDERSTUDY_CHECK(ask(std::move(rest)));
  }
  return found;
}

Result<> EarlierMemory::check(std::uint64_t count) const {
  if (settled_) return fail(ErrorKind::conflict, "the replica has begun: nothing is compared");
  if (count > limits::memory_digests) {
    return fail(ErrorKind::limit, "{} pages at once; at most {} are possible", count,
                limits::memory_digests);
  }
  return {};
}

Result<std::string> EarlierMemory::digests(const replication::MemoryDigestRequest& request) const {
  UNDERSTUDY_CHECK(check(request.pages()));
  std::string all;
  if (image_.empty()) return all;
  for (std::uint64_t i = 0; i < request.pages(); ++i) {
    const auto page = request.first_page() + i;
    all += page < pages() ? page_digest(image_, page, request.seed())
                          : std::string(ContentHash::bytes, '\0');
  }
  return all;
}

Result<> EarlierMemory::keep(const replication::MemoryKeepRequest& request,
                             const std::function<void(std::uint64_t)>& visit,
                             const replication::KeepGoing& keep_going) {
  UNDERSTUDY_CHECK(check(request.pages()));
  if (request.first_page() < done_ || request.kept().size() * bits_per_byte < request.pages())
    return fail(ErrorKind::protocol, "page {} cannot be kept", request.first_page());
  for (std::uint64_t i = 0; i < request.pages(); ++i) {
    const auto bits = static_cast<unsigned char>(request.kept()[i / bits_per_byte]);
    if ((bits >> i % bits_per_byte & 1U) == 0) continue;
    const auto page = request.first_page() + i;
    if (page >= pages()) return fail(ErrorKind::protocol, "page {} cannot be kept", page);
    UNDERSTUDY_CHECK(clear(page, keep_going));
    visit(page);
    done_ = page + 1;
  }
  return clear(std::min(pages(), request.first_page() + request.pages()), keep_going);
}

/// From where all is done.
Result<> EarlierMemory::clear(std::uint64_t until, const replication::KeepGoing& keep_going) {
  while (done_ < until) {
    const auto count = std::min(until - done_, pages_at_once);
    const auto rest = image_.subspan(done_ * page_bytes, count * page_bytes);
    // SAFETY: pages of our own mapping of the machine's memory. Gives them back: they read as
    // zeros. Where that cannot be, they are written.
    if (::madvise(rest.data(), rest.size(), MADV_REMOVE) != 0) std::ranges::fill(rest, std::byte{});
    done_ += count;
    if (count == pages_at_once && !keep_going())
      return fail(ErrorKind::closed, "the session is ending");
  }
  return {};
}

void EarlierMemory::settle() {
  if (std::exchange(settled_, true)) return;
  static_cast<void>(clear(pages(), [] { return true; }));
}

}  // namespace understudy::checkpointer
