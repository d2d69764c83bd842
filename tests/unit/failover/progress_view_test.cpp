#include "failover/console/progress_view.hpp"

#include <cmath>

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::failover;
using namespace understudy::failover::console;

namespace {

control::Progress step(const std::string& name, double fraction) {
  control::Progress progress;
  progress.set_step(name);
  progress.set_fraction(fraction);
  return progress;
}

}  // namespace

TEST_CASE("away from a terminal there is a line per tenth") {
  ProgressView view{ProgressView::Mode::lines};
  CHECK(view.advance(step("preparing", -1)) == "preparing\n");
  CHECK(view.advance(step("preparing", -1)).empty());
  CHECK(view.advance(step("copying", 0)) == "copying 0 %\n");
  CHECK(view.advance(step("copying", 0.05)).empty());
  CHECK(view.advance(step("copying", 0.37)) == "copying 37 %\n");
  CHECK(view.advance(step("copying", 0.2)).empty());
  CHECK(view.advance(step("copying", 7)) == "copying 100 %\n");
  CHECK(view.end().empty());
}

TEST_CASE("on a terminal a bar is drawn over itself and taken away") {
  ProgressView view{ProgressView::Mode::bar};
  CHECK(view.end().empty());
  CHECK(view.advance(step("copying", 0.5)) ==
        "\r\x1b[Kcopying [###############               ]  50 %");
  CHECK(view.advance(step("waiting", std::nan(""))) == "\r\x1b[Kwaiting ...");
  CHECK(view.end() == "\r\x1b[K");
  CHECK(view.end().empty());
}
