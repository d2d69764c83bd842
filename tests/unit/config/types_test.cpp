#include "config/types.hpp"

#include <type_traits>

#include <catch2/catch.hpp>

#include "config/result.hpp"

using namespace understudy;

static_assert(!std::is_convertible_v<std::uint64_t, Epoch>);
static_assert(!std::is_convertible_v<Epoch, Term>);

namespace {
Result<int> half(int number) {
  if (number % 2 != 0) return fail(ErrorKind::invalid, "{} is odd", number);
  return number / 2;
}
Result<int> quarter(int number) {
  UNDERSTUDY_TRY(const int once, half(number));
  UNDERSTUDY_CHECK(half(once));
  return half(once);
}
}  // namespace

TEST_CASE("strong numbers compare, count and print") {
  CHECK(Epoch{1}.next() == Epoch{2});
  CHECK(Epoch{1} < Epoch{2});
  CHECK(fmt::format("{}", Epoch{42}) == "42");
}

TEST_CASE("errors pass through functions") {
  CHECK(quarter(8).value() == 2);
  CHECK(quarter(6).error().message == "3 is odd");
  CHECK(quarter(6).error().within("division").message == "division: 3 is odd");
}
