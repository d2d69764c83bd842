// What a host says of the cluster, for its status, its page and the other hosts.
#include <map>
#include <utility>

#include "failover/node.hpp"

namespace understudy::failover {

control::Guest Node::report(const GuestHost& guest) const {
  auto report = guest.report();
  *report.mutable_availability() = availability_.of(report.name());
  if (const auto* known = settings_.find_guest(report.name())) {
    report.set_availability_objective(known->availability_objective() / 100);
  }
  return report;
}

control::Status Node::status() const {
  control::Status status;
  status.set_host(settings_.this_host().name());
  status.set_cluster(settings_.config().cluster());
  status.set_version(UNDERSTUDY_VERSION);
  status.set_drained(drain_.drained());
  add_quorum(status);
  std::map<std::string, control::Guest> all;
  for (const auto* one : guests()) {
    auto report = this->report(*one);
    const auto heard = heard_.find(report.name());
    const bool elsewhere = !report.active_host().empty() && report.active_host() != status.host();
    if (elsewhere && heard != heard_.end() &&
        heard->second.guest.active_host() == report.active_host()) {
      auto theirs = heard->second.guest;
      theirs.set_report_age_us(
          static_cast<std::uint64_t>(in_microseconds(now() - heard->second.at).count()));
      if (report.has_last_failover()) *theirs.mutable_last_failover() = report.last_failover();
      report = std::move(theirs);
    }
    all[report.name()] = std::move(report);
  }
  for (const auto& [name, heard] : heard_) {
    if (all.contains(name) || is_stale(heard.guest)) continue;
    auto theirs = heard.guest;
    theirs.set_report_age_us(static_cast<std::uint64_t>(in_microseconds(now() - heard.at).count()));
    all[name] = std::move(theirs);
  }
  for (auto& [name, one] : all) {
    if (const auto drill = drills_.last(name)) *one.mutable_last_drill() = *drill;
    *status.add_guest() = std::move(one);
  }
  add_warnings(status);
  return status;
}

/// A summary of a guest that its host no longer runs, by record.
bool Node::is_stale(const control::Guest& heard) const {
  const auto* active = settings_.find_host(book_.decided(heard.name()).active);
  return book_.ready() && (active == nullptr || active->name() != heard.active_host());
}

void Node::add_quorum(control::Status& status) const {
  auto& quorum = *status.mutable_quorum();
  const auto& view = book_.view();
  quorum.set_corosync_connected(cluster_trouble_.empty());
  quorum.set_quorate(book_.quorate());
  quorum.set_voter(book_.voter());
  if (!book_.quorate() && quorate_) {
    quorum.set_view_age_us(static_cast<std::uint64_t>(in_microseconds(now() - *quorate_).count()));
  }
  if (view) quorum.set_ring(fmt::format("{}.{:x}", view->ring.representative, view->ring.sequence));
  for (const auto& host : settings_.config().host()) {
    auto& member = *quorum.add_member();
    member.set_name(host.name());
    member.set_present(view && view->has(NodeId{host.node_id()}));
    member.set_witness(host.replication_address().empty());
    member.set_page_url(host.page_url());
  }
}

void Node::add_warnings(control::Status& status) const {
  if (!cluster_trouble_.empty()) status.add_warning(cluster_trouble_);
  if (cluster_trouble_.empty() && !book_.quorate()) {
    status.add_warning(
        "no quorum: guests here are paused and their output is closed until a majority is back");
  }
  if (drain_.drained()) status.add_warning(drain_.refusal().message);
  if (!memory_trouble_.empty()) {
    status.add_warning("this host cannot remember who may run a guest, and does not vote: " +
                       memory_trouble_);
  }
  if (book_.damaged()) {
    status.add_warning(fmt::format(
        "{} was damaged: this host has no vote until a majority of the others has met it; if all "
        "hosts say so and no guest runs anywhere, remove that file on all of them",
        store_.path()));
  } else if (book_.quorate() && !book_.ready() && !book_.lost_other()) {
    status.add_warning(
        "the records are not agreed: a majority that remembers must meet, or, when the cluster is "
        "new, all hosts once");
  }
  fencer_.report(status);
}

}  // namespace understudy::failover
