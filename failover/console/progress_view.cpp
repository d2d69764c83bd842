#include "failover/console/progress_view.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "failover/console/text.hpp"

namespace understudy::failover::console {
namespace {

constexpr std::size_t bar_columns = 30;
constexpr std::size_t step_columns = 40;

bool known(double fraction) {
  return std::isfinite(fraction) && fraction >= 0;
}

int whole_percent(double fraction) {
  return static_cast<int>(100 * std::clamp(fraction, 0.0, 1.0));
}

std::string bar(const control::Progress& progress) {
  const auto step = clip(progress.step(), step_columns);
  if (!known(progress.fraction())) return fmt::format("\r\x1b[K{} ...", step);
  const auto full =
      bar_columns * static_cast<std::size_t>(whole_percent(progress.fraction())) / 100;
  return fmt::format("\r\x1b[K{} [{}{}] {:3} %", step, std::string(full, '#'),
                     std::string(bar_columns - full, ' '), whole_percent(progress.fraction()));
}

}  // namespace

std::string ProgressView::advance(const control::Progress& progress) {
  if (mode_ == Mode::lines) return line(progress);
  drawn_ = true;
  return bar(progress);
}

std::string ProgressView::end() {
  return std::exchange(drawn_, false) ? "\r\x1b[K" : "";
}

std::string ProgressView::line(const control::Progress& progress) {
  const int tenth = known(progress.fraction()) ? whole_percent(progress.fraction()) / 10 : -1;
  if (progress.step() == step_ && tenth <= tenth_) return "";
  const bool new_step = std::exchange(step_, progress.step()) != progress.step();
  tenth_ = tenth;
  const auto step = clip(progress.step(), step_columns);
  if (tenth < 0) return new_step ? step + "\n" : "";
  return fmt::format("{} {} %\n", step, whole_percent(progress.fraction()));
}

}  // namespace understudy::failover::console
