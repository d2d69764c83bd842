#include "hypervisor/pages_on_demand.hpp"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>

#include "config/types.hpp"

namespace understudy::hypervisor {
namespace {

constexpr std::size_t faults_at_once = 16;

}  // namespace

Result<std::unique_ptr<PagesOnDemand>> PagesOnDemand::create(UniqueFd userfault,
                                                             std::uint64_t address,
                                                             std::uint64_t bytes) {
  uffdio_api api{UFFD_API, UFFD_FEATURE_MISSING_SHMEM, 0};
  // SAFETY: the structure that this ioctl expects, which outlives the call; so below.
  if (::ioctl(userfault.get(), UFFDIO_API, &api) != 0)
    return fail_errno("userfaultfd for missing pages of shared memory");
  uffdio_register range{{address, bytes}, UFFDIO_REGISTER_MODE_MISSING, 0};
  if (::ioctl(userfault.get(), UFFDIO_REGISTER, &range) != 0)
    return fail_errno("userfaultfd refused to watch a clone's memory");
  UniqueFd stopped{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!stopped) return fail_errno("eventfd");
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  return std::unique_ptr<PagesOnDemand>{
      new PagesOnDemand{std::move(userfault), std::move(stopped), address}};
}

/// False: stopped.
bool PagesOnDemand::wait_for_fault() {
  std::array<pollfd, 2> both{{{userfault_.get(), POLLIN, 0}, {stopped_.get(), POLLIN, 0}}};
  while (::poll(both.data(), both.size(), -1) < 0) {
    if (errno == EINTR) continue;
    error_ = errno;
    return false;
  }
  return both[1].revents == 0;
}

std::vector<std::uint64_t> PagesOnDemand::wanted() {
  std::array<uffd_msg, faults_at_once> faults{};
  std::vector<std::uint64_t> pages;
  while (pages.empty() && wait_for_fault()) {
    const auto got = ::read(userfault_.get(), faults.data(), sizeof faults);
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
      error_ = errno;
      break;
    }
    const auto count = got < 0 ? 0 : static_cast<std::size_t>(got) / sizeof(uffd_msg);
    for (const auto& fault : std::span{faults}.first(count)) {
      if (fault.event == UFFD_EVENT_PAGEFAULT)
        pages.push_back((fault.arg.pagefault.address - address_) / page_bytes);
    }
  }
  return pages;
}

void PagesOnDemand::stop() {
  ::eventfd_write(stopped_.get(), 1);
}

void PagesOnDemand::give(std::uint64_t page, std::span<const std::byte> contents) {
  uffdio_copy copy{};
  copy.dst = address_ + page * page_bytes;
  // SAFETY: the address of the caller's page, given to the kernel as a number.
  copy.src = reinterpret_cast<std::uint64_t>(contents.data());
  copy.len = page_bytes;
  place(UFFDIO_COPY, &copy, page);
}

void PagesOnDemand::give_zeros(std::uint64_t page) {
  uffdio_zeropage zero{{address_ + page * page_bytes, page_bytes}, 0, 0};
  place(UFFDIO_ZEROPAGE, &zero, page);
}

void PagesOnDemand::place(unsigned long how, void* request, std::uint64_t page) {
  ++given_pages_;  // before who waits for it goes on
  int outcome{};
  do {  // EAGAIN: the machine is changing its mappings just now
    outcome = ::ioctl(userfault_.get(), how, request);
  } while (outcome != 0 && errno == EAGAIN);
  if (outcome == 0) return;
  --given_pages_;
  if (errno == EEXIST) {  // it was given since it was asked for
    uffdio_range range{address_ + page * page_bytes, page_bytes};
    ::ioctl(userfault_.get(), UFFDIO_WAKE, &range);
  } else if (errno != ESRCH) {  // that one: the machine is gone, which its owner sees
    error_ = errno;
  }
}

std::uint64_t PagesOnDemand::given_bytes() const {
  return given_pages_ * page_bytes;
}

Result<> PagesOnDemand::check() const {
  if (const int error = error_) return fail_errno("giving a clone its memory", error);
  return {};
}

}  // namespace understudy::hypervisor
