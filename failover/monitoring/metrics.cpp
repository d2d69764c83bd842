#include "failover/monitoring/metrics.hpp"

#include <algorithm>
#include <cctype>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "config/types.hpp"

namespace understudy::failover {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr double us_per_second = 1e6;

double in_seconds(std::uint64_t microseconds) {
  return static_cast<double>(microseconds) / us_per_second;
}

/// Families in the order in which they are first named.
class Page {
 public:
  void gauge(const char* name, const char* help, Labels labels, double value) {
    add(name, help, MetricType::Gauge, std::move(labels)).gauge.value = value;
  }
  void counter(const char* name, const char* help, Labels labels, double value) {
    add(name, help, MetricType::Counter, std::move(labels)).counter.value = value;
  }
  void histogram(const char* name, const char* help, Labels labels,
                 const control::Histogram& given) {
    auto& histogram = add(name, help, MetricType::Histogram, std::move(labels)).histogram;
    std::uint64_t below = 0;
    for (int i = 0; i < given.count_size(); ++i) {
      below += given.count(i);
      if (i < given.bound_size()) histogram.bucket.push_back({below, given.bound(i)});
    }
    histogram.sample_count = below;
    histogram.sample_sum = given.sum();
  }
  [[nodiscard]] std::string text() const {
    return prometheus::TextSerializer{}.Serialize(families_);
  }

 private:
  ClientMetric& add(const char* name, const char* help, MetricType type, Labels labels) {
    auto family = std::ranges::find(families_, name, &MetricFamily::name);
    if (family == families_.end()) {
      family = families_.insert(family, MetricFamily{name, help, type, {}});
    }
    auto& metric = family->metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<MetricFamily> families_;
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

void add_host(Page& page, const control::Status& status) {
  page.gauge("understudy_build_info", "Version of the daemon; always 1.",
             {{"version", status.version()}}, 1);
  page.gauge("understudy_corosync_connected", "1 while the daemon talks to Corosync.", {},
             status.quorum().corosync_connected() ? 1 : 0);
  page.gauge("understudy_quorate", "1 while this host is in a partition with quorum.", {},
             status.quorum().quorate() ? 1 : 0);
  page.gauge("understudy_voter", "1 while this host's vote on who may run a guest counts.", {},
             status.quorum().voter() ? 1 : 0);
  if (status.has_fencing()) {
    page.gauge("understudy_fencing_failures", "Failed attempts in a row to fence the other host.",
               {{"peer", status.fencing().host()}}, status.fencing().failures());
  }
  for (const auto& member : status.quorum().member()) {
    page.gauge("understudy_host_present", "1 for each configured host that this one sees.",
               {{"host", member.name()}, {"witness", member.witness() ? "true" : "false"}},
               member.present() ? 1 : 0);
  }
  page.gauge("understudy_warnings", "Conditions that `understudy status` warns of.", {},
             status.warning_size());
}

void add_checkpoints(Page& page, const control::Guest& guest) {
  const Labels of{{"guest", guest.name()}};
  page.gauge("understudy_guest_recovery_point_age_seconds",
             "Age of the newest committed epoch: what a failover now would take back of what "
             "nobody has seen yet.",
             of, in_seconds(guest.commit_age_us()));
  page.gauge("understudy_guest_committed_epoch", "Number of the newest committed epoch.", of,
             static_cast<double>(guest.epoch()));
  page.gauge("understudy_guest_sync_ratio", "How much of the full copy is done, 0 to 1.", of,
             guest.sync_fraction());
  page.gauge("understudy_guest_throttled",
             "1 while the backup or the link is slower than the guest.", of,
             guest.throttled() ? 1 : 0);
  if (!guest.has_totals()) return;
  const auto& totals = guest.totals();
  page.histogram("understudy_guest_pause_seconds", "How long the guest was paused for an epoch.",
                 of, totals.pause_seconds());
  page.histogram("understudy_guest_commit_latency_seconds",
                 "From an epoch's pause to the backup's acknowledgement.", of,
                 totals.commit_latency_seconds());
  page.counter("understudy_guest_dirty_bytes_total",
               "Pages that the guest wrote, as often as they were captured.", of,
               static_cast<double>(totals.dirty_pages()) * static_cast<double>(page_bytes));
  page.counter("understudy_guest_checkpoint_bytes_total", "Bytes sent to the backup for them.", of,
               static_cast<double>(totals.bytes()));
}

void add_failovers(Page& page, const control::Guest& guest) {
  if (!guest.has_last_failover() || guest.last_failover().planned()) return;
  const Labels of{{"guest", guest.name()}};
  const auto& last = guest.last_failover();
  page.gauge("understudy_guest_last_failover_timestamp_seconds",
             "When the guest was resumed here after its host was lost.", of,
             in_seconds(last.running_unix_us()));
  page.gauge("understudy_guest_last_promotion_seconds",
             "From the quorum's decision until the guest ran here.", of,
             in_seconds(last.promote_us()));
}

void add_drill(Page& page, const control::Guest& guest) {
  if (!guest.has_last_drill()) return;
  const Labels of{{"guest", guest.name()}};
  const auto& last = guest.last_drill();
  page.gauge("understudy_guest_last_drill_success", "1 if the last drill on this host passed.", of,
             last.passed() ? 1 : 0);
  page.gauge("understudy_guest_last_drill_timestamp_seconds", "When it was begun.", of,
             in_seconds(last.started_unix_us()));
  if (last.recovery_us() == 0) return;
  page.gauge("understudy_guest_last_drill_recovery_seconds",
             "From the command to the first probe that its clone passed.", of,
             in_seconds(last.recovery_us()));
}

void add_availability(Page& page, const control::Guest& guest, UnixTime at) {
  const Labels of{{"guest", guest.name()}};
  const auto* month = find_month(guest.availability(), month_number(at));
  if (month == nullptr) return;
  constexpr auto spent = "understudy_guest_month_seconds";
  constexpr auto spent_help = "Time of this month (UTC), by what the guest's clients had.";
  const auto add = [&](const char* service, std::uint64_t time) {
    page.gauge(spent, spent_help, {{"guest", guest.name()}, {"service", service}},
               in_seconds(time));
  };
  add("protected", month->protected_us());
  add("unprotected", month->unprotected_us());
  add("down", month->down_us());
  add("stopped", month->stopped_us());
  page.gauge("understudy_guest_month_outages", "Outages that began this month.", of,
             month->outages());
  page.gauge("understudy_guest_month_failovers", "Failovers of this month.", of,
             month->failovers());
  page.gauge("understudy_guest_month_longest_outage_seconds", "The longest outage of this month.",
             of, in_seconds(month->longest_outage_us()));
  if (const auto ratio = availability(*month)) {
    page.gauge("understudy_guest_availability_ratio", "Served / (served + down), this month.", of,
               *ratio);
  }
  if (const auto objective = guest.availability_objective(); objective > 0) {
    page.gauge("understudy_guest_availability_objective_ratio", "What is promised.", of, objective);
    page.gauge("understudy_guest_error_budget_left_seconds",
               "What outages may still take of this month without breaking the objective.", of,
               static_cast<double>(error_budget_left(*month, objective).count()) / us_per_second);
  }
}

void add_active(Page& page, const control::Guest& guest, UnixTime at) {
  const Labels of{{"guest", guest.name()}};
  const auto service = service_of(guest);
  page.gauge("understudy_guest_serving", "1 while the guest runs here and its output is open.", of,
             service == Service::is_protected || service == Service::is_unprotected ? 1 : 0);
  page.gauge("understudy_guest_protected",
             "1 while the guest runs here and a backup holds it: losing this host loses nothing.",
             of, service == Service::is_protected ? 1 : 0);
  page.gauge("understudy_guest_held_packets", "Packets that wait for their epoch's commit.", of,
             static_cast<double>(guest.held_packets()));
  page.gauge("understudy_guest_held_bytes", "Bytes of those packets.", of,
             static_cast<double>(guest.held_bytes()));
  if (!guest.backup_host().empty()) add_checkpoints(page, guest);
  add_availability(page, guest, at);
}

void add_guest(Page& page, const control::Status& status, const control::Guest& guest,
               UnixTime at) {
  const auto& here = status.host();
  for (const auto& member : status.quorum().member()) {
    if (member.witness()) continue;
    page.gauge("understudy_guest_active", "1 for the host that runs the guest, by the record.",
               {{"guest", guest.name()}, {"host", member.name()}},
               guest.active_host() == member.name() ? 1 : 0);
  }
  add_failovers(page, guest);
  add_drill(page, guest);
  const bool active = guest.active_host() == here;
  if (!active && guest.backup_host() != here) return;
  for (int state = control::GuestState_MIN; state <= control::GuestState_MAX; ++state) {
    page.gauge(
        "understudy_guest_state", "1 for the state that `understudy status` shows.",
        {{"guest", guest.name()},
         {"state", lower(control::GuestState_Name(static_cast<control::GuestState>(state)))}},
        guest.state() == state ? 1 : 0);
  }
  if (active) add_active(page, guest, at);
}

}  // namespace

std::string metrics_text(const control::Status& status, UnixTime at) {
  Page page;
  add_host(page, status);
  for (const auto& guest : status.guest()) add_guest(page, status, guest, at);
  return page.text();
}

}  // namespace understudy::failover
