#include "failover/monitoring/availability_book.hpp"

#include <boost/asio/post.hpp>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::failover {
namespace {

/// What must not wait for the next store.
bool tells_news(const control::Availability& before, const control::Availability& after) {
  return before.stopped() != after.stopped() || before.moved_unix_us() != after.moved_unix_us() ||
         (before.outage_us() == 0) != (after.outage_us() == 0);
}

void save(const DurableFile& file, const std::string& body) {
  if (const auto saved = file.save(body); !saved) {
    log::warning("availability.not_stored", {log::kv("why", saved.error().message)});
  }
}

}  // namespace

AvailabilityBook::AvailabilityBook(const std::string& state_dir)
    : file_{state_dir + "/availability", "understudy availability 1",
            limits::availability_file_bytes} {
  const auto body = file_.load();
  control::AvailabilityBook book;
  if (!body) {
    log::warning("availability.damaged", {log::kv("why", body.error().message)});
  } else if (*body && book.ParseFromString(**body)) {
    for (const auto& [name, known] : book.guest()) accounts_[name].take_over(known);
  }
}

AvailabilityBook::~AvailabilityBook() {
  disk_.join();
  save(file_, body());
}

void AvailabilityBook::look(const control::Guest& report, const std::string& this_host,
                            const Moment& at) {
  auto& account = accounts_[report.name()];
  if (!report.active_host().empty() && report.active_host() != this_host) {
    const bool replica = report.backup_host() == this_host && report.epoch() != 0;
    if (replica) account.proven(at.wall - microseconds{report.commit_age_us()});
    return;
  }
  const auto before = account.known();
  const auto service = service_of(report);
  if (report.has_last_failover() && !report.active_host().empty()) {
    const UnixTime running{microseconds{report.last_failover().running_unix_us()}};
    // The outage ended then, not when we look.
    if (microseconds{account.known().moved_unix_us()} < running.time_since_epoch()) {
      account.observe(Service::is_down, {running, at.steady - (at.wall - running)});
      account.observe(service, {running, at.steady - (at.wall - running)});
      account.moved_here(running, report.last_failover().planned()
                                      ? AvailabilityAccount::Cause::planned
                                      : AvailabilityAccount::Cause::host_lost);
    }
  }
  account.observe(service, at);
  news_ = news_ || tells_news(before, account.known());
}

void AvailabilityBook::take_over(const std::string& guest, const control::Availability& heard) {
  accounts_[guest].take_over(heard);
}

control::Availability AvailabilityBook::of(const std::string& guest) const {
  const auto found = accounts_.find(guest);
  return found == accounts_.end() ? control::Availability{} : found->second.known();
}

std::string AvailabilityBook::body() const {
  control::AvailabilityBook book;
  for (const auto& [name, account] : accounts_) (*book.mutable_guest())[name] = account.known();
  return book.SerializeAsString();
}

void AvailabilityBook::store(TimePoint at) {
  const bool due = news_ || at - stored_at_ >= limits::availability_store_period;
  if (!due || storing_->exchange(true)) return;
  stored_at_ = at;
  news_ = false;
  boost::asio::post(disk_, [file = file_, body = body(), storing = storing_] {
    save(file, body);
    *storing = false;
  });
}

}  // namespace understudy::failover
