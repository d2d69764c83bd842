// Memory that a machine is given page by page, each when it is first touched: userfaultfd's missing
// pages, from outside. Who touches a page waits until it is there, be it a vCPU, a device or the
// kernel on their behalf. Source: ioctl_userfaultfd(2).
//
// What touches the memory through another mapping of the same file passes this by, and finds zeros.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::hypervisor {

class PagesOnDemand {
 public:
  /// `bytes` at `address` of the address space that `userfault`, fresh, belongs to; shared memory,
  /// of which no page is there. Until the end of this object.
  [[nodiscard]] static Result<std::unique_ptr<PagesOnDemand>> create(UniqueFd userfault,
                                                                     std::uint64_t address,
                                                                     std::uint64_t bytes);

  /// Pages that somebody waits for. Waits for the first; none: `stop` was called, or `check` says
  /// why. One thread.
  [[nodiscard]] std::vector<std::uint64_t> wanted();
  /// For ever. Any thread.
  void stop();

  /// Gives a page, unless it is there; who waits for it goes on. Any thread.
  void give(std::uint64_t page, std::span<const std::byte> contents);
  void give_zeros(std::uint64_t page);

  /// Bytes that were given: what the machine has for itself. Any thread.
  [[nodiscard]] std::uint64_t given_bytes() const;
  /// An error: a page could not be given, and somebody waits for ever. Any thread.
  [[nodiscard]] Result<> check() const;

 private:
  PagesOnDemand(UniqueFd userfault, UniqueFd stopped, std::uint64_t address)
      : userfault_{std::move(userfault)}, stopped_{std::move(stopped)}, address_{address} {}
  [[nodiscard]] bool wait_for_fault();
  void place(unsigned long how, void* request, std::uint64_t page);

  UniqueFd userfault_;
  UniqueFd stopped_;  ///< an eventfd
  std::uint64_t address_;
  std::atomic<std::uint64_t> given_pages_{};
  std::atomic<int> error_{};  ///< an errno
};

}  // namespace understudy::hypervisor
