#include "failover/monitoring/metrics.hpp"

#include <catch2/catch.hpp>

using namespace understudy;
using namespace understudy::failover;
using namespace std::chrono_literals;

namespace {

const UnixTime november{std::chrono::sys_days{std::chrono::year{2026} / 11 / 21}};

control::Status cluster(const std::string& here) {
  control::Status status;
  status.set_host(here);
  status.set_version("0.1.0");
  status.mutable_quorum()->set_quorate(true);
  for (const auto* name : {"a", "b", "w"}) {
    auto& member = *status.mutable_quorum()->add_member();
    member.set_name(name);
    member.set_present(*name != 'b');
    member.set_witness(*name == 'w');
  }
  return status;
}

control::Guest& add_protected(control::Status& status) {
  auto& guest = *status.add_guest();
  guest.set_name("p\"g");
  guest.set_state(control::PROTECTED);
  guest.set_active_host("a");
  guest.set_backup_host("b");
  guest.set_epoch(12345);
  guest.set_commit_age_us(12'500);
  auto& pause = *guest.mutable_totals()->mutable_pause_seconds();
  for (const double bound : {0.001, 0.01}) pause.add_bound(bound);
  for (const int count : {3, 4, 1}) pause.add_count(static_cast<std::uint64_t>(count));
  pause.set_sum(0.25);
  guest.mutable_totals()->set_dirty_pages(10);
  guest.set_availability_objective(0.999);
  auto& month = *guest.mutable_availability()->add_month();
  month.set_month(202611);
  month.set_protected_us(999'000'000);
  month.set_down_us(1'000'000);
  return guest;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("the active host tells everything of its guest") {
  auto status = cluster("a");
  add_protected(status);
  const auto text = metrics_text(status, november);
  for (const auto* line : {
           R"(understudy_quorate 1)",
           R"(understudy_host_present{host="b",witness="false"} 0)",
           R"(understudy_guest_active{guest="p\"g",host="a"} 1)",
           R"(understudy_guest_active{guest="p\"g",host="b"} 0)",
           R"(understudy_guest_state{guest="p\"g",state="protected"} 1)",
           R"(understudy_guest_state{guest="p\"g",state="failed"} 0)",
           R"(understudy_guest_serving{guest="p\"g"} 1)",
           R"(understudy_guest_recovery_point_age_seconds{guest="p\"g"} 0.0125)",
           R"(# TYPE understudy_guest_pause_seconds histogram)",
           R"(understudy_guest_pause_seconds_bucket{guest="p\"g",le="0.001"} 3)",
           R"(understudy_guest_pause_seconds_bucket{guest="p\"g",le="0.01"} 7)",
           R"(understudy_guest_pause_seconds_bucket{guest="p\"g",le="+Inf"} 8)",
           R"(understudy_guest_pause_seconds_sum{guest="p\"g"} 0.25)",
           R"(understudy_guest_dirty_bytes_total{guest="p\"g"} 40960)",
           R"(understudy_guest_month_seconds{guest="p\"g",service="down"} 1)",
           R"(understudy_guest_availability_ratio{guest="p\"g"} 0.999)",
           R"(understudy_guest_error_budget_left_seconds{guest="p\"g"} 2591)",
       }) {
    INFO(line);
    CHECK(has_line(text, line));
  }
  CHECK_FALSE(has_line(text, R"(understudy_guest_active{guest="p\"g",host="w"} 0)"));
}

TEST_CASE("of another host's guest, only who runs it is told") {
  auto status = cluster("w");
  add_protected(status);
  const auto text = metrics_text(status, november);
  CHECK(has_line(text, R"(understudy_guest_active{guest="p\"g",host="a"} 1)"));
  CHECK(text.find("understudy_guest_state") == std::string::npos);
  CHECK(text.find("recovery_point") == std::string::npos);
}

TEST_CASE("the last drill is told where its evidence is") {
  auto status = cluster("b");
  auto& drill = *add_protected(status).mutable_last_drill();
  drill.set_started_unix_us(1'795'302'900'000'000);
  auto text = metrics_text(status, november);
  CHECK(has_line(text, R"(understudy_guest_last_drill_success{guest="p\"g"} 0)"));
  CHECK(text.find("drill_recovery") == std::string::npos);
  drill.set_passed(true);
  drill.set_recovery_us(2'500'000);
  text = metrics_text(status, november);
  CHECK(has_line(text, R"(understudy_guest_last_drill_success{guest="p\"g"} 1)"));
  CHECK(has_line(text, R"(understudy_guest_last_drill_recovery_seconds{guest="p\"g"} 2.5)"));
}

TEST_CASE("a suspended guest serves nobody, and no objective has no budget") {
  auto status = cluster("a");
  auto& guest = add_protected(status);
  guest.set_state(control::SUSPENDED);
  guest.set_availability_objective(0);
  const auto text = metrics_text(status, november);
  CHECK(has_line(text, R"(understudy_guest_serving{guest="p\"g"} 0)"));
  CHECK(text.find("error_budget") == std::string::npos);
}
