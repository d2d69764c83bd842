#include "failover/fencing.hpp"

#include "config/limits.hpp"

namespace understudy::failover {

std::optional<Fencing::Attempt> Fencing::decide(const RecordBook& book, TimePoint now) {
  const bool seen = book.view() && book.view()->has(book.other());
  const bool told_otherwise = state_ != State::succeeded && book.dead() == book.other();
  if (seen || told_otherwise) {
    failures_ = 0;
    failure_.clear();
    if (state_ != State::idle) become(State::idle, now);
    return std::nullopt;
  }
  const bool wanted = book.knows_all() && book.misses_other() && book.dead() == nobody;
  if (state_ == State::waiting && !wanted) become(State::idle, now);
  switch (state_) {
    case State::idle:
      if (!wanted) return std::nullopt;
      become(State::waiting, now);
      next_ = now + policy_.delay;
      [[fallthrough]];
    case State::waiting:
    case State::failed:
      if (!wanted || now < next_) return std::nullopt;
      become(State::in_progress, now);
      return ++attempt_;
    case State::in_progress:
    case State::succeeded: return std::nullopt;
  }
  return std::nullopt;
}

bool Fencing::finished(Attempt attempt, const Result<>& outcome, TimePoint now) {
  if (!awaits(attempt)) return false;
  if (outcome) {
    become(State::succeeded, now);
    return true;
  }
  ++failures_;
  failure_ = outcome.error().message;
  const bool again = failures_ % policy_.attempts != 0;
  become(again ? State::waiting : State::failed, now);
  next_ = now + (again ? limits::fencing_pause : limits::fencing_retry);
  return false;
}

void Fencing::become(State state, TimePoint now) {
  state_ = state;
  since_ = now;
}

}  // namespace understudy::failover
