#include "failover/fencer.hpp"

#include <unistd.h>

#include <boost/asio/post.hpp>

#include "config/log.hpp"

namespace understudy::failover {
namespace {

std::uint64_t unix_us_of(TimePoint at) {
  return static_cast<std::uint64_t>(
      (unix_now().time_since_epoch() - in_microseconds(now() - at)).count());
}

std::string name_of(const Settings& settings, NodeId node) {
  if (node == nobody) return "no host";
  const auto* host = settings.find_host(node);
  return host == nullptr ? fmt::format("node {}", node) : "host " + host->name();
}

}  // namespace

Fencer::Fencer(boost::asio::io_context& io, const Settings& settings, RecordBook& book, Send send)
    : io_{io}, settings_{settings}, book_{book}, send_{std::move(send)} {
  if (!book_.pair() || !other().has_fencing()) return;
  const auto& fencing = other().fencing();
  fencing_.emplace(Fencing::Policy{milliseconds{fencing.delay_ms()}, fencing.retries() + 1});
  agent_ = std::make_unique<FenceAgent>(other().name(), fencing);
}

const config::Host& Fencer::other() const {
  return *settings_.find_host(book_.other());
}

void Fencer::decide() {
  if (!fencing_) return;
  const auto next = fencing_->decide(book_, now());
  // The host is back, or known to be dead: it need not be hit again.
  if (attempt_ && !fencing_->awaits(*attempt_)) agent_->end();
  if (next) attempt(*next);
}

void Fencer::attempt(Fencing::Attempt attempt) {
  log::warning("fencing.begins",
               {log::kv("host", other().name()), log::kv("agent", other().fencing().agent()),
                log::kv("failures", fencing_->failures())});
  attempt_ = attempt;
  agent_->start([this, attempt](Result<> outcome) {
    boost::asio::post(io_, [this, attempt, outcome = std::move(outcome)] {
      if (attempt_ == attempt) attempt_.reset();
      const bool counts = fencing_->finished(attempt, outcome, now());
      if (outcome) {
        log::warning("fencing.done",
                     {log::kv("host", other().name()), log::kv("counts", counts ? "yes" : "no")});
      } else {
        log::error("fencing.failed",
                   {log::kv("host", other().name()), log::kv("why", outcome.error().message)});
      }
      if (counts) send_(book_.confirm_dead(book_.other()));
      decide();
    });
  });
}

void Fencer::stop() {
  if (agent_) agent_->end();
}

// --- the operator's word

Result<std::string> Fencer::stakes(const std::string& host) const {
  const auto& here = settings_.this_host().name();
  const auto* found = settings_.find_host(host);
  if (found == nullptr)
    return fail(ErrorKind::invalid, "there is no host \"{}\" in the configuration", host);
  if (host == here) return fail(ErrorKind::invalid, "this is host {}, and it lives", host);
  if (!book_.pair()) {
    return fail(ErrorKind::invalid,
                "not needed: {} hosts decide by majority, which no confirmation replaces; bring "
                "back enough of them",
                settings_.config().host_size());
  }
  if (!book_.view()) {
    return fail(ErrorKind::unavailable,
                "corosync is not reachable on host {}: start it first, so that host {} would be "
                "seen if it lived",
                here, host);
  }
  if (book_.view()->has(book_.other()))
    return fail(ErrorKind::conflict, "host {} is not dead: it is in the cluster now", host);
  if (book_.dead() == book_.other() && book_.decides_alone())
    return fail(ErrorKind::conflict,
                "not needed: host {} is known to be dead already, and host {} goes on alone", host,
                here);
  const auto known = known_guests();
  if (book_.knows_all()) {
    return fmt::format(
        "Host {0} is not in the cluster, and nobody has seen to it that it is dead. Host {1} has "
        "been with it\nuntil it was lost: what {1} remembers is the newest.\n{2}"
        "If {0} still runs, its guests will run TWICE, both answering under one address, and what "
        "one of them\nhas done is lost. Confirm only if {0} is switched off, or its understudyd "
        "and QEMU are ended.\n",
        host, here, known);
  }
  return fmt::format(
      "Host {1} has not met host {0} since its daemon was started. What {1} remembers may be OLD: "
      "{0} may have\nrun guests alone since, and may run them still.\n{2}"
      "If you confirm, this holds, and everything that {0} has done since then is abandoned for "
      "good, its disk\nimages included, if guests are started here. If {0} still runs, its guests "
      "will run TWICE. Confirm only\nif {0} is switched off and will not come back, or has nothing "
      "newer. Else start {0} instead.\n",
      host, here, known);
}

std::string Fencer::known_guests() const {
  std::string text;
  for (const auto& [guest, record] : book_.remembered()) {
    text += fmt::format("  guest {}: term {}, ran on {}, backup {}, last active {}\n", guest,
                        record.term, name_of(settings_, record.active),
                        name_of(settings_, record.backup), name_of(settings_, record.home));
  }
  if (text.empty()) return "It remembers no guest.\n";
  return "It remembers:\n" + text;
}

Result<std::string> Fencer::confirm(const std::string& host) {
  UNDERSTUDY_CHECK(stakes(host));
  const bool old = !book_.knows_all();
  const auto since_1970 =
      std::chrono::duration_cast<seconds>(unix_now().time_since_epoch()).count();
  log::warning("host.confirmed_dead",
               {log::kv("host", host), log::kv("record", old ? "may be old" : "is the newest")});
  send_(book_.prevail(book_.other(), static_cast<std::uint64_t>(since_1970)));
  decide();
  return fmt::format("host {} counts as dead until it is seen again; host {} goes on alone", host,
                     settings_.this_host().name());
}

// --- status

void Fencer::report(control::Status& status) const {
  if (!book_.pair()) return;
  if (book_.decides_alone()) status.mutable_quorum()->set_goes_on_without(other().name());
  if (fencing_) {
    auto& fencing = *status.mutable_fencing();
    fencing.set_host(other().name());
    fencing.set_state(static_cast<control::FencingState>(fencing_->state()));
    if (fencing_->state() != Fencing::State::idle)
      fencing.set_since_unix_us(unix_us_of(fencing_->since()));
    fencing.set_failures(fencing_->failures());
    fencing.set_failure(fencing_->failure());
  } else {
    status.add_warning(fmt::format(
        "no automatic failover: two hosts without a witness, and no fencing of host {0}; when it "
        "is lost, its guests wait until it is back or `understudy confirm-dead {0}`",
        other().name()));
  }
  const auto& here = settings_.this_host();
  if (fencing_ && ::access(other().fencing().agent().c_str(), X_OK) != 0) {
    status.add_warning(fmt::format("the fence agent {} is not there, or cannot be run",
                                   other().fencing().agent()));
  }
  if (fencing_ && here.has_fencing() && here.fencing().delay_ms() == other().fencing().delay_ms()) {
    status.add_warning(fmt::format(
        "hosts {} and {} would fence each other at the same moment when they cannot see each "
        "other; give fencing {{ delay_ms }} to the one that shall survive",
        here.name(), other().name()));
  }
  warn_of_absence(status);
}

void Fencer::warn_of_absence(control::Status& status) const {
  if (!book_.lost_other() || book_.ready()) return;
  auto text = fmt::format("host {} is lost, and not known to be dead: nobody takes over its guests",
                          other().name());
  if (!book_.knows_all()) {
    text += fmt::format(
        ", and this host, which has just started, may remember old things; start "
        "{0}, or see `understudy confirm-dead {0}`",
        other().name());
    return status.add_warning(text);
  }
  if (fencing_ && !fencing_->failure().empty()) {
    text +=
        fmt::format("; fencing has failed {} times: {}", fencing_->failures(), fencing_->failure());
  }
  text +=
      fmt::format("; if you know that it is dead: `understudy confirm-dead {}`", other().name());
  status.add_warning(text);
}

}  // namespace understudy::failover
