// What is kept of drills: for each a JSON file and a page, in state_dir/drills.
#pragma once

#include <string>
#include <vector>

#include "config/clock.hpp"
#include "config/config.pb.h"
#include "config/result.hpp"
#include "failover/control.pb.h"

namespace understudy::failover {

// --- pure
/// "pg-20261121T231500Z".
[[nodiscard]] std::string drill_id(const std::string& guest, UnixTime at);
/// Of what was cloned and how it was looked at, in hex: equal for equal configurations.
[[nodiscard]] std::string configuration_hash(const config::Guest& guest, const config::Drill& plan);
/// One file, nothing loaded from elsewhere.
[[nodiscard]] std::string drill_page(const control::DrillReport& report);
[[nodiscard]] control::DrillSummary summary_of(const control::DrillReport& report);

/// The files, at most limits::drill_reports of them. One thread.
class DrillBook {
 public:
  /// Reads what is there. What cannot be read is left alone, and not shown.
  explicit DrillBook(const std::string& state_dir);

  /// Each file is whole or not there; the oldest goes when there are too many.
  [[nodiscard]] Result<> add(const control::DrillReport& report);
  /// The newest first.
  [[nodiscard]] const std::vector<control::DrillReport>& all() const { return reports_; }
  /// nullptr: none.
  [[nodiscard]] const control::DrillReport* last(const std::string& guest) const;

 private:
  void drop_oldest();

  std::string directory_;
  std::vector<control::DrillReport> reports_;
};

}  // namespace understudy::failover
