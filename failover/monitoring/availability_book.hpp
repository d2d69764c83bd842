// The accounts of all guests that this host knows of, kept in state_dir. One thread; the disk has
// another, for a slow one must not hold up who decides.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/thread_pool.hpp>

#include "config/durable_file.hpp"
#include "failover/monitoring/availability.hpp"

namespace understudy::failover {

class AvailabilityBook {
 public:
  using Moment = AvailabilityAccount::Moment;

  /// A damaged file is reported, kept aside, and begun anew: the others know, too.
  explicit AvailabilityBook(const std::string& state_dir);
  /// Stores what is known, and waits for the disk.
  ~AvailabilityBook();
  AvailabilityBook(const AvailabilityBook&) = delete;
  AvailabilityBook& operator=(const AvailabilityBook&) = delete;

  /// `report` is this host's own, of a guest that is active here, has its replica here, or is
  /// stopped.
  void look(const control::Guest& report, const std::string& this_host, const Moment& at);

  /// What the guest's active host, another one, told.
  void take_over(const std::string& guest, const control::Availability& heard);

  [[nodiscard]] control::Availability of(const std::string& guest) const;

  /// Begins to store what is known, if there is news or it is time, and the last store is done.
  void store(TimePoint at);

 private:
  [[nodiscard]] std::string body() const;

  DurableFile file_;
  std::map<std::string, AvailabilityAccount> accounts_;
  TimePoint stored_at_;
  bool news_{};
  std::shared_ptr<std::atomic<bool>> storing_{std::make_shared<std::atomic<bool>>(false)};
  boost::asio::thread_pool disk_{1};
};

}  // namespace understudy::failover
