#include "failover_story.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace understudy::sim {
namespace {

/// A host's daemon is started again; now and then its disk has been replaced or damaged meanwhile.
/// Where none remembers any more, all begins anew, and nothing of before can be held to.
std::string bring_back(World& world, int i) {
  const bool another_remembers = std::ranges::any_of(
      world.hosts, [&](auto& host) { return &host != &world.at(i) && host.disk.voter(); });
  const bool forgets = world.failing_disks && world.pick(6) == 0 && another_remembers;
  if (forgets) {
    world.at(i).disk.Clear();
    world.at(i).disk.set_damaged(world.pick(2) == 0);
    world.disks_lost = true;
  }
  world.revive(i);
  return fmt::format("host {} comes back{}", i, forgets ? ", its disk lost" : "");
}

/// An operator asks a host for something.
std::string command(World& world, int i, SimGuest& guest) {
  auto& host = world.at(i);
  if (!host.alive || host.frozen || i == world.witness()) return "nothing";
  if (world.pair() && world.pick(4) == 0) {
    world.confirm_dead(i);
    return fmt::format("confirm dead at {}", i);
  }
  auto& role = *guest.on(i).role;
  const int other = (i + 1 + world.pick(world.witness() - 1)) % world.witness();
  const auto asked = [&](const std::string& what, const Result<>& taken) {
    return fmt::format("{} {} at {}{}", what, guest.name(), i,
                       taken ? "" : ": " + taken.error().message);
  };
  const bool idle = guest.running() == 0;
  const bool bare = !idle && !role.protecting();
  switch (idle ? 1 + world.pick(4) : bare ? world.pick(7) : world.pick(14)) {
    case 0: return asked("unprotect", role.unprotect(*host.book));
    case 1: return asked("stop", role.stop(*host.book));
    case 2:
    case 3:
    case 4: return asked("start", role.start(*host.book));
    case 5:
    case 6: {
      const NodeId backup{static_cast<std::uint32_t>(other + 1)};
      return asked(fmt::format("protect to {}:", other), role.protect(*host.book, backup));
    }
    default: return asked("switch over", role.switch_over(*host.book));
  }
}

/// Of two hosts one is left, until it dies too and the other comes back.
std::string change_guard(World& world) {
  const int left = world.at(0).alive ? 0 : 1;
  world.kill(left);
  return fmt::format("host {} dies, {}", left, bring_back(world, 1 - left));
}

/// What is wrong with hosts and net, one thing of it, ends.
std::string mend(World& world) {
  std::vector<int> ill;
  for (int i = 0; std::cmp_less(i, world.hosts.size()); ++i) {
    if (!world.awake(i)) ill.push_back(i);
  }
  const bool split = world.parts.size() > 1;
  const auto n =
      static_cast<std::size_t>(world.pick(static_cast<int>(ill.size()) + (split ? 1 : 0)));
  if (n == ill.size()) {
    world.join();
    return "the net is whole";
  }
  if (!world.at(ill[n]).alive) return bring_back(world, ill[n]);
  world.thaw(ill[n]);
  return fmt::format("host {} thaws", ill[n]);
}

std::string fail_host(World& world, int i) {
  if (!world.at(i).alive) return bring_back(world, i);
  if (world.pick(3) == 0) {
    world.at(i).frozen ? world.thaw(i) : world.freeze(i);
    return fmt::format("host {} {}", i, world.at(i).frozen ? "freezes" : "thaws");
  }
  if (world.pair() && !world.at(i).frozen && world.pick(4) == 0) {
    world.leave(i);
    return fmt::format("host {} is stopped", i);
  }
  world.kill(i);
  return fmt::format("host {} dies", i);
}

std::string split_net(World& world, int i) {
  std::vector<std::vector<int>> parts(2);
  for (int j = 0; std::cmp_less(j, world.hosts.size()); ++j)
    parts[j == i || world.pick(3) == 0 ? 0 : 1].push_back(j);
  auto text =
      fmt::format("the net splits: {} | {}", fmt::join(parts[0], " "), fmt::join(parts[1], " "));
  world.split(std::move(parts));
  return text;
}

std::string fault(World& world, int i, SimGuest& guest) {
  const bool one_is_left = world.pair() && world.at(0).alive != world.at(1).alive;
  if (one_is_left && world.pick(4) == 0) return change_guard(world);
  const bool all_is_well =
      world.parts.size() == 1 &&
      std::ranges::all_of(world.hosts, [](auto& host) { return host.alive && !host.frozen; });
  if (!all_is_well && world.pick(2) == 0) return mend(world);
  switch (world.pick(6)) {
    case 0:
    case 1:
    case 2: return fail_host(world, i);
    case 3:
    case 4: return split_net(world, i);
    default:
      guest.session_broken = !guest.session_broken && world.pick(2) == 0;
      guest.frozen_sync = !guest.frozen_sync && world.pick(4) == 0;
      return fmt::format("the session of {} {}{}", guest.name(),
                         guest.session_broken ? "breaks" : "carries",
                         guest.frozen_sync ? " nothing" : "");
  }
}

/// All run, each in its turn of the hosts, and most are protected: in both directions.
void begin(World& world) {
  const int kept = world.witness();
  const auto settle = [&](const auto& done) {
    for (int n = 0; n < 100 && !(done() && world.unsettled().empty()); ++n) world.settle(100);
  };
  const auto all = [&](const auto& what) {
    for (int g = 0; std::cmp_less(g, world.guests.size()); ++g) {
      if (!what(world.guest(g), g % kept)) return false;
    }
    return true;
  };
  settle([] { return true; });
  for (int g = 0; std::cmp_less(g, world.guests.size()); ++g)
    static_cast<void>(world.on(g % kept, g).role->start(*world.at(g % kept).book));
  settle([&] { return all([](auto& guest, int) { return guest.running() == 1; }); });
  for (int g = 0; std::cmp_less(g, world.guests.size()); ++g) {
    if (world.pick(4) == 0) continue;
    const NodeId backup{static_cast<std::uint32_t>((g + 1) % kept + 1)};
    static_cast<void>(world.on(g % kept, g).role->protect(*world.at(g % kept).book, backup));
  }
  settle([&] { return all([](auto& guest, int i) { return !guest.on(i).role->copying(); }); });
}

/// All faults end: what heals by itself must.
std::string heal(World& world) {
  world.lossy = false;
  for (const auto& guest : world.guests) guest->session_broken = guest->frozen_sync = false;
  world.failing_promotions = 0;
  world.end_fencing();
  for (int i = 0; std::cmp_less(i, world.hosts.size()); ++i) {
    world.at(i).frozen = false;
    if (!world.at(i).alive) world.reboot(i);
  }
  world.join();
  world.link_is_apart = false;
  world.tick = milliseconds{500};
  std::string wrong = "nothing happened";
  for (int turn = 0; turn < 400 && !wrong.empty() && world.violation.empty(); ++turn) {
    world.settle(200);
    wrong = world.unsettled();
  }
  return world.violation.empty() ? wrong : world.violation;
}

/// Half of all worlds have one guest, to which all happens.
Scale scale_of(std::uint64_t seed, const StoryOptions& options) {
  Chances chances{~seed};
  Scale scale;
  scale.hosts = seed % 4 == 0 ? 2 : 3 + static_cast<int>(seed % 3);
  scale.guests = seed / 4 % 2 == 0 ? 1 : 2 + static_cast<int>(seed / 8 % 2);
  if (options.hosts != 0) scale.hosts = options.hosts;
  if (options.guests != 0) scale.guests = options.guests;
  scale.autostart = chances.pick(4) == 0;
  scale.limits.epochs_in_flight = static_cast<std::size_t>(2 + chances.pick(3));
  scale.limits.pace.interval = milliseconds{25 << chances.pick(4)};
  scale.limits.pace.min_interval = milliseconds{1 << chances.pick(5)};
  scale.limits.hold_packets = std::size_t{4} << chances.pick(5);
  return scale;
}

/// The odds of a story.
int draw_faults(World& world) {
  if (world.pair()) {
    world.two_node = world.pick(2) == 0;
    world.with_fencing = world.pick(4) != 0;
    world.failing_fences = world.pick(3);
    world.slow_agents = world.pick(2) == 0 ? 4 : 2000;
  }
  world.tick = milliseconds{25 << world.pick(4)};
  world.lossy = world.pick(2) == 0;
  world.failing_disks = world.pick(3) == 0 && world.mutant != Mutant::skips_writes;
  world.failing_promotions = world.pick(4) == 0 ? 1 : 0;
  return 100 << world.pick(5);
}

FailoverVerdict sum_up(const World& world, std::string failure) {
  FailoverVerdict verdict;
  verdict.failure = std::move(failure);
  verdict.coverage = world.coverage;
  verdict.guests = world.guests.size();
  verdict.steps = world.steps;
  verdict.fences = world.fences;
  verdict.confirmations = world.confirmations;
  for (const auto& guest : world.guests) {
    verdict.promotions += guest->promotions;
    verdict.switchovers += guest->switchovers;
    verdict.protections += guest->protections;
    verdict.epochs += guest->epochs;
    verdict.answers += guest->answers();
  }
  return verdict;
}

}  // namespace

namespace {

/// Mostly one that has to do with the guest.
int pick_host(World& world, SimGuest& guest) {
  const int any = world.pick(static_cast<int>(world.hosts.size()));
  if (world.pick(3) == 0) return any;
  for (int i = 0; i < world.witness(); ++i) {
    if (guest.on(i).runs && !guest.on(i).suspended) return i;
  }
  return any;
}

/// A fault, a command, or a command into which a fault comes.
std::string pick_deed(World& world) {
  auto& guest = world.guest(world.pick(static_cast<int>(world.guests.size())));
  const int i = pick_host(world, guest);
  if (world.pick(2) == 0) return fault(world, i, guest);
  const int backup = guest.session_to;
  const auto asked = command(world, i, guest);
  if (world.pick(2) == 0) return asked;
  const int steps = world.pick(500);
  world.run(steps);
  const int target = backup >= 0 && world.pick(2) == 0 ? backup : i;
  return fmt::format("{}; {} steps; {}", asked, steps, fault(world, target, guest));
}

}  // namespace

FailoverVerdict run_failover(std::uint64_t seed, const StoryOptions& options) {
  World world{seed, scale_of(seed, options), options.mutant};
  begin(world);
  const int drawn = draw_faults(world);
  const int pace = options.pace == 0 ? drawn : std::min(options.pace, drawn);
  std::vector<std::string> story;
  for (std::size_t round = 0; round < story_rounds && world.violation.empty(); ++round) {
    // Each has its own chances, so that it stays what it is without another.
    world.chances = Chances{seed * story_rounds + round};
    if (options.left_out[round]) continue;
    const auto deed = pick_deed(world);
    const int steps = world.pick(pace);
    if (options.tell) story.push_back(fmt::format("{}: {}; {} steps", round, deed, steps));
    world.run(steps);
  }
  // Where too many disks have forgotten, waiting for an operator is right.
  if (world.violation.empty() && !world.disks_lost && options.mutant == Mutant::none)
    world.complain(heal(world));
  for (const auto& guest : world.guests) guest->check_register();
  auto verdict = sum_up(world, world.violation);
  verdict.story = std::move(story);
  return verdict;
}

std::string StoryOptions::arguments() const {
  std::string text;
  if (hosts != 0) text += fmt::format(" --hosts {}", hosts);
  if (guests != 0) text += fmt::format(" --guests {}", guests);
  if (pace != 0) text += fmt::format(" --pace {}", pace);
  if (left_out.none()) return text;
  std::vector<int> kept;
  for (int round = 0; round < story_rounds; ++round) {
    if (!left_out[static_cast<std::size_t>(round)]) kept.push_back(round);
  }
  return text + fmt::format(" --rounds {}", fmt::join(kept, ","));
}

namespace {

/// Takes away what the failure does not need.
class Minimiser {
 public:
  Minimiser(std::uint64_t seed, StoryOptions options)
      : seed_{seed}, options_{options}, failure_{run_failover(seed, options).failure} {}

  StoryOptions least() {
    for (int guests = 1; guests <= 2 && !try_with([&](auto& one) { one.guests = guests; });)
      ++guests;
    for (int hosts = 2; hosts <= 4 && !try_with([&](auto& one) { one.hosts = hosts; });) ++hosts;
    while (leave_out_rounds()) {
    }
    for (int pace = 50; pace <= 1600 && !try_with([&](auto& one) { one.pace = pace; });) pace *= 2;
    return options_;
  }

 private:
  bool try_with(const auto& change) {
    auto less = options_;
    change(less);
    if (run_failover(seed_, less).failure != failure_) return false;
    options_ = less;
    return true;
  }
  bool leave_out_rounds() {
    bool shorter = false;
    for (std::size_t round = story_rounds; round-- > 0;) {
      if (!options_.left_out[round])
        shorter = try_with([&](auto& one) { one.left_out.set(round); }) || shorter;
    }
    return shorter;
  }

  const std::uint64_t seed_;
  StoryOptions options_;
  const std::string failure_;
};

}  // namespace

std::string minimised_failover(std::uint64_t seed, StoryOptions options) {
  options = Minimiser{seed, options}.least();
  options.tell = true;
  const auto verdict = run_failover(seed, options);
  return fmt::format("\n    understudy_sim --seed {}{}\n    {}", seed, options.arguments(),
                     fmt::join(verdict.story, "\n    "));
}

FailoverVerdict& FailoverVerdict::operator+=(const FailoverVerdict& other) {
  coverage += other.coverage;
  for (const auto count :
       {&FailoverVerdict::guests, &FailoverVerdict::steps, &FailoverVerdict::promotions,
        &FailoverVerdict::switchovers, &FailoverVerdict::protections, &FailoverVerdict::epochs,
        &FailoverVerdict::answers, &FailoverVerdict::fences, &FailoverVerdict::confirmations})
    this->*count += other.*count;
  return *this;
}

std::string FailoverVerdict::text() const {
  return fmt::format(
             "{} guests, {} steps, {} promotions, {} switchovers, {} protections, {} epochs, {} "
             "answers to clients, {} hosts fenced, {} confirmed dead",
             guests, steps, promotions, switchovers, protections, epochs, answers, fences,
             confirmations) +
         coverage.text();
}

}  // namespace understudy::sim
