// `understudy status` as text: what an operator wants to know on one screen. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "failover/console/text.hpp"
#include "failover/control.pb.h"

namespace understudy::failover::console {

inline constexpr std::size_t screen_columns = 80;

/// Lines of at most screen_columns, each with its end.
[[nodiscard]] std::string status_view(const control::Status& status, const Paint& paint);

/// `understudy verify`: one line per RAM block and disk, where it differs, and a verdict.
[[nodiscard]] std::string verification_view(const control::Verification& verification,
                                            const Paint& paint);

/// `understudy link test`: one line per link.
[[nodiscard]] std::string link_test_view(const control::LinkTest& test, const Paint& paint);

/// `identical`: every block was the same on both hosts, and there is one; `repaired`: all are by
/// now.
enum class Outcome : std::uint8_t { identical, repaired, different };
[[nodiscard]] Outcome outcome(const control::Verification& verification);

}  // namespace understudy::failover::console
