// The words every module shares: strong types for the numbers that must never be mixed up.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

#include <fmt/format.h>

namespace understudy {

/// A number with a meaning. Two tags never mix; there is no implicit conversion in or out.
template <class Tag, class Rep = std::uint64_t>
class Strong {
 public:
  constexpr Strong() = default;
  constexpr explicit Strong(Rep value) : value_{value} {}
  [[nodiscard]] constexpr Rep value() const { return value_; }
  [[nodiscard]] constexpr Strong next() const { return Strong{static_cast<Rep>(value_ + 1)}; }
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the generated comparison for ours
  friend constexpr auto operator<=>(Strong, Strong) = default;

 private:
  Rep value_{};
};

/// Number of a checkpoint of one guest; the first sealed epoch is 1, 0 means "none yet".
using Epoch = Strong<struct EpochTag>;
/// Version of the record of who may run a guest; grows with every change of roles.
using Term = Strong<struct TermTag>;
/// Corosync's nodeid.
using NodeId = Strong<struct NodeIdTag, std::uint32_t>;
/// A page of a guest, counted over all RAM blocks of its machine in the order of the RamLayout.
using PageIndex = Strong<struct PageIndexTag>;

/// x86 guests; a host with another page size is refused at start.
inline constexpr std::size_t page_bytes = 4096;

}  // namespace understudy

template <class Tag, class Rep>
struct fmt::formatter<understudy::Strong<Tag, Rep>> : fmt::formatter<Rep> {
  auto format(understudy::Strong<Tag, Rep> strong, fmt::format_context& context) const {
    return fmt::formatter<Rep>::format(strong.value(), context);
  }
};

template <class Tag, class Rep>
struct std::hash<understudy::Strong<Tag, Rep>> {
  std::size_t operator()(understudy::Strong<Tag, Rep> strong) const noexcept {
    return std::hash<Rep>{}(strong.value());
  }
};
