#include "failover/reprotection.hpp"

#include <algorithm>

#include "config/limits.hpp"

namespace understudy::failover {
namespace {

constexpr int doublings = 10;  // more than reprotect_retry_max lets count

Duration rest_after(ErrorKind kind, int failures) {
  const bool refused = kind == ErrorKind::incompatible || kind == ErrorKind::invalid;
  const Duration first = refused ? limits::reprotect_refused : limits::reprotect_retry;
  const Duration longest = limits::reprotect_retry_max;
  return std::min(first * (1 << std::min(failures, doublings)), longest);
}

}  // namespace

void Reprotection::look(const View& view, TimePoint now) {
  if (view_ != view) {
    std::erase_if(present_, [&](const auto& one) {
      return !view.has(one.first) ||
             std::binary_search(view.returned.begin(), view.returned.end(), one.first);
    });
    for (const auto member : view.members) present_.emplace(member, now);
    view_ = view;
  }
  for (const auto& [host, since] : protected_since_) {
    if (now - since >= limits::reprotect_stable) troubles_.erase(host);
  }
}

void Reprotection::look_away() {
  view_.reset();
  present_.clear();
}

void Reprotection::handed_over_by(NodeId host, TimePoint now) {
  if (!view_ || !view_->has(host)) return;
  present_[host] = now - (limits::reprotect_settle - limits::reprotect_handed_over);
}

std::optional<NodeId> Reprotection::due(const std::vector<NodeId>& hosts, NodeId self,
                                        TimePoint now) const {
  for (const auto& one : outlook(hosts, self, now)) {
    if (one.wait == Duration{}) return one.host;
  }
  return std::nullopt;
}

void Reprotection::failed(NodeId host, const Error& why, TimePoint now) {
  protected_since_.clear();
  auto& trouble = troubles_[host];
  trouble.rests_until = now + rest_after(why.kind, trouble.failures);
  trouble.why = why.message;
  ++trouble.failures;
}

void Reprotection::protected_by(NodeId host, TimePoint now) {
  protected_since_ = {{host, now}};
}

std::vector<Reprotection::Outlook> Reprotection::outlook(const std::vector<NodeId>& hosts,
                                                         NodeId self, TimePoint now) const {
  std::vector<Outlook> all;
  for (const auto host : hosts) {
    if (host != self) all.push_back(look_at(host, now));
  }
  return all;
}

Reprotection::Outlook Reprotection::look_at(NodeId host, TimePoint now) const {
  if (const auto unfit = unfit_.find(host); unfit != unfit_.end()) {
    return {host, unfit->second, std::nullopt};
  }
  const auto present = present_.find(host);
  if (present == present_.end()) return {host, "not in the cluster", std::nullopt};
  auto at = present->second + limits::reprotect_settle;
  std::string obstacle;
  if (const auto trouble = troubles_.find(host); trouble != troubles_.end()) {
    at = std::max(at, trouble->second.rests_until);
    obstacle = trouble->second.why;
  }
  return {host, obstacle, std::max(at - now, Duration{})};
}

}  // namespace understudy::failover
