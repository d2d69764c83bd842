#include "failover/drill_runner.hpp"

#include <utility>

#include "config/limits.hpp"
#include "config/priority.hpp"
#include "failover/clone_network.hpp"
#include "failover/drill_probes.hpp"

namespace understudy::failover {

/// Notes how long a part of the drill took.
class DrillRunner::Step {
 public:
  Step(DrillRunner& runner, const std::string& name) : runner_{runner} {
    message_.set_name(name);
    message_.set_begin_us(runner_.since_command());
    runner_.events_.progress(name, -1);
  }
  ~Step() {
    message_.set_took_us(runner_.since_command() - message_.begin_us());
    *runner_.order_.report.add_step() = std::move(message_);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

 private:
  DrillRunner& runner_;
  control::DrillStep message_;
};

DrillRunner::DrillRunner(DrillOrder order, Events events)
    : order_{std::move(order)}, events_{std::move(events)}, thread_{[this] { run(); }} {}

DrillRunner::~DrillRunner() {
  cancel("this host's daemon is stopping");
  thread_.join();
}

void DrillRunner::cancel(const std::string& why) {
  const std::lock_guard lock{mutex_};
  if (cancelled_.empty()) cancelled_ = why;
}

std::uint64_t DrillRunner::since_command() const {
  return static_cast<std::uint64_t>(in_microseconds(now() - order_.commanded).count());
}

bool DrillRunner::goes_on() {
  if (clone_ && clone_lives_) clone_lives_ = clone_->check();
  if (now() - order_.commanded > limits::drill_longest) cancel("it took too long");
  const std::lock_guard lock{mutex_};
  return cancelled_.empty() && clone_lives_;
}

void DrillRunner::run() {
  leave_real_time();  // inherited, and not for this
  auto& report = order_.report;
  const auto outcome = perform();
  {
    const Step step{*this, "clean up"};
    if (clone_) report.set_own_memory_bytes(clone_->own_memory());
    clone_.reset();
  }
  {
    const std::lock_guard lock{mutex_};
    if (!outcome) report.set_failure(outcome.error().message);
    if (!clone_lives_) report.set_failure(clone_lives_.error().message);
    if (!cancelled_.empty()) report.set_failure(cancelled_);
  }
  report.set_failure(bounded_text(report.failure()));
  report.set_passed(report.failure().empty());
  report.set_finished_unix_us(report.started_unix_us() + since_command());
  events_.done(report);
}

Result<> DrillRunner::perform() {
  {
    const Step step{*this, "make an isolated network"};
    UNDERSTUDY_TRY(address_, enter_clone_network(order_.source.guest, order_.plan));
    if (address_.empty()) {
      return fail(ErrorKind::invalid,
                  "it is not known where the guest answers; say in this host's configuration of "
                  "the guest, or in the file of --probe: address: \"10.0.0.5/24\"");
    }
  }
  {
    const Step step{*this, "start a second machine"};
    UNDERSTUDY_TRY(clone_, checkpointer::Clone::prepare(order_.source, order_.directory));
    order_.report.set_hypervisor(clone_->hypervisor());
  }
  {
    const Step step{*this, "freeze the newest epoch"};
    UNDERSTUDY_CHECK(clone_->freeze());
    order_.report.set_epoch(clone_->frozen().epoch.value());
  }
  {
    const Step step{*this, "copy what is not shared"};
    const auto go_on = [this]() -> Result<> {
      return goes_on() ? Result<>{} : fail(ErrorKind::closed, "it was ended");
    };
    UNDERSTUDY_CHECK(clone_->copy({events_.progress, go_on, limits::clone_copy_rest}));
  }
  {
    const Step step{*this, "let the clone run"};
    UNDERSTUDY_CHECK(clone_->run());
  }
  return probe();
}

Result<> DrillRunner::probe() {
  auto& report = order_.report;
  const ProbeTarget target{report.guest(), address_, report.epoch()};
  Result<> outcome;
  for (const auto& probe : order_.plan.probe()) {
    if (!goes_on()) break;
    const Step step{*this, "probe " + probe_name(probe)};
    auto& one = *report.add_probe();
    one = run_probe(probe, target, [this] { return goes_on(); });
    if (one.passed() && report.recovery_us() == 0) report.set_recovery_us(since_command());
    if (!one.passed() && outcome)
      outcome = fail(ErrorKind::unavailable, "probe {}: {}", one.name(), one.said());
  }
  return outcome;
}

}  // namespace understudy::failover
