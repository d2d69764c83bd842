#include "failover/clone_runner.hpp"

#include <unistd.h>

#include <utility>

#include "config/limits.hpp"
#include "config/priority.hpp"
#include "failover/clone_network.hpp"
#include "failover/drill_probes.hpp"

namespace understudy::failover {

CloneRunner::CloneRunner(CloneOrder order, Events events)
    : order_{std::move(order)}, events_{std::move(events)}, thread_{[this] { run(); }} {}

CloneRunner::~CloneRunner() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  thread_.join();
}

bool CloneRunner::goes_on() {
  if (clone_ && clone_lives_) clone_lives_ = clone_->check();
  if (clone_) own_memory_ = clone_->own_memory();
  const std::lock_guard lock{mutex_};
  return !stopping_ && clone_lives_;
}

void CloneRunner::run() {
  leave_real_time();  // inherited, and not for this
  const auto outcome = perform();
  while (outcome && goes_on()) std::this_thread::sleep_for(limits::drill_step);
  clone_.reset();
  ::unlink(order_.info.console_log().c_str());
  if (order_.gdb.starts_with('/')) ::unlink(order_.gdb.c_str());
  if (!outcome) return events_.ended(outcome.error());
  events_.ended(clone_lives_ ? Error{ErrorKind::closed, "it was stopped"} : clone_lives_.error());
}

Result<> CloneRunner::perform() {
  UNDERSTUDY_TRY(*order_.info.mutable_address(),
                 enter_clone_network(order_.source.guest, order_.plan));
  UNDERSTUDY_CHECK(make_clone());
  order_.info.set_network(fmt::format("/proc/{}/task/{}/ns/net", ::getpid(), ::gettid()));
  if (!order_.gdb.empty()) {
    UNDERSTUDY_CHECK(clone_->serve_gdb(order_.gdb));
    order_.info.set_gdb(order_.gdb.starts_with('/') ? order_.gdb : "127.0.0.1:" + order_.gdb);
  }
  probe();
  order_.info.set_own_memory_bytes(clone_->own_memory());
  events_.runs(order_.info);
  return {};
}

Result<> CloneRunner::make_clone() {
  using checkpointer::Clone;
  UNDERSTUDY_TRY(const auto past, checkpointer::find_past(order_.source, order_.moment));
  events_.progress("starting a second machine", -1);
  UNDERSTUDY_TRY(clone_, Clone::prepare(order_.source, order_.directory));
  UNDERSTUDY_CHECK(clone_->freeze());
  const auto go_on = [&]() -> Result<> {
    if (goes_on() || !clone_lives_) return clone_lives_;
    return fail(ErrorKind::closed, "this host's daemon is stopping");
  };
  UNDERSTUDY_CHECK(clone_->copy({events_.progress, go_on, limits::clone_copy_rest}));
  if (past) {
    events_.progress("going back", -1);
    UNDERSTUDY_CHECK(clone_->go_back(past->epoch()));
  }
  order_.info.set_committed_unix_us(unix_us(clone_->committed_at()));
  order_.info.set_epoch(clone_->frozen().epoch.value());
  order_.info.set_memory_bytes(std::uint64_t{order_.source.guest.memory_mib()} << 20U);
  return clone_->run();
}

void CloneRunner::probe() {
  if (!order_.probes) return;
  const ProbeTarget target{order_.info.guest(), order_.info.address(), order_.info.epoch()};
  for (const auto& probe : order_.plan.probe()) {
    if (!goes_on()) return;
    events_.progress("probe " + probe_name(probe), -1);
    *order_.info.add_probe() = run_probe(probe, target, [this] { return goes_on(); });
  }
}

}  // namespace understudy::failover
