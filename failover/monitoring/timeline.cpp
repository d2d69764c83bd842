#include "failover/monitoring/timeline.hpp"

#include <algorithm>
#include <utility>

#include "config/limits.hpp"
#include "config/names.hpp"

namespace understudy::failover {
namespace {

constexpr std::size_t framing_bytes = 4;  // of an item in its message

/// At most limits::told_text_bytes of UTF-8.
std::string beginning_of(const std::string& text) {
  auto bytes = std::min(text.size(), limits::told_text_bytes);
  const auto continues = [&] { return (static_cast<unsigned char>(text[bytes]) & 0xC0U) == 0x80U; };
  while (bytes < text.size() && bytes > 0 && continues()) --bytes;
  return text.substr(0, bytes);
}

/// What the others are told of a drill: its evidence is where it was made.
control::DrillReport outcome_of(const control::DrillReport& drill) {
  control::DrillReport outcome;
  outcome.set_id(drill.id());
  outcome.set_guest(drill.guest());
  outcome.set_host(drill.host());
  outcome.set_kind(drill.kind());
  outcome.set_started_unix_us(drill.started_unix_us());
  outcome.set_passed(drill.passed());
  outcome.set_recovery_us(drill.recovery_us());
  outcome.set_recovery_point_us(drill.recovery_point_us());
  outcome.set_failure(beginning_of(drill.failure()));
  return outcome;
}

/// It becomes part of a web address.
bool valid_id(std::string_view id) {
  return !id.empty() && std::ranges::all_of(id, name_character);
}

void set_moment(control::Event& event, std::uint64_t unix_us) {
  event.set_at_unix_us(unix_us);
}

void set_moment(control::DrillReport& drill, std::uint64_t unix_us) {
  drill.set_started_unix_us(unix_us);
}

/// As this host's clock had it: the sender says how long ago it was, by its own.
std::uint64_t here(std::uint64_t there, std::uint64_t told, UnixTime at) {
  return unix_us(at) - std::min(told - there, unix_us(at));
}

}  // namespace

Timeline::Timeline(const Settings& settings)
    : settings_{settings}, events_{limits::events_kept}, drills_{limits::drills_told} {}

void Timeline::add(control::Event event) {
  event.set_detail(beginning_of(event.detail()));
  events_.add(std::move(event), ToldBy::here);
}

void Timeline::add(const control::DrillReport& drill) {
  drills_.add(outcome_of(drill), ToldBy::here);
}

void Timeline::tell_again() {
  events_.tell_again();
  drills_.tell_again();
}

std::optional<peer::Timeline> Timeline::next(UnixTime at) {
  forget(at);
  peer::Timeline message;
  std::size_t bytes = 0;
  const auto put_into = [&](auto& items) {
    return [&](const auto& item) {
      bytes += item.ByteSizeLong() + framing_bytes;
      if (bytes > limits::timeline_message_bytes) return false;
      *items.Add() = item;
      return true;
    };
  };
  events_.tell(unix_us(at), put_into(*message.mutable_event()));
  drills_.tell(unix_us(at), put_into(*message.mutable_drill()));
  if (bytes == 0) return std::nullopt;
  message.set_told_unix_us(unix_us(at));
  return message;
}

void Timeline::hear(NodeId sender, const peer::Timeline& told, UnixTime at) {
  const auto* from = settings_.find_host(sender);
  const auto take = [&](auto& log, auto item) {
    if (!plausible(item) || moment_of(item) > told.told_unix_us()) return;
    set_moment(item, here(moment_of(item), told.told_unix_us(), at));
    const bool its_host = from != nullptr && item.host() == from->name();
    log.add(std::move(item), its_host ? ToldBy::its_host : ToldBy::another);
  };
  for (const auto& event : told.event()) take(events_, event);
  for (const auto& drill : told.drill()) {
    // Of its own a host has the evidence.
    if (drill.host() != settings_.this_host().name()) take(drills_, drill);
  }
  forget(at);
}

bool Timeline::plausible(const auto& item) const {
  return item.ByteSizeLong() <= limits::told_item_bytes && valid_id(item.id()) &&
         settings_.find_host(item.host()) != nullptr;
}

/// Also what a clock that was set back has left in the future.
void Timeline::forget(UnixTime at) {
  const auto age = static_cast<std::uint64_t>(microseconds{limits::events_age}.count());
  const auto ahead = static_cast<std::uint64_t>(microseconds{limits::events_ahead}.count());
  const auto now_us = unix_us(at);
  events_.keep_between(now_us - std::min(age, now_us), now_us + ahead);
}

control::EventList Timeline::events(UnixTime at) {
  forget(at);
  control::EventList list;
  events_.each([&](const control::Event& event) { *list.add_event() = event; });
  return list;
}

void Timeline::add_elsewhere(control::DrillList& list) const {
  drills_.each([&](const control::DrillReport& drill) {
    if (drill.host() != settings_.this_host().name()) *list.add_elsewhere() = drill;
  });
}

}  // namespace understudy::failover
