// Hosts with an image, a page cache and an activity log each, of which any may lose its power or
// its daemon at any step; what they do with their images is what the engine, the primary and the
// backup's replica do, in small. The logs are the production's, on disks that lose what was not
// synchronised and tear what was being written.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "checkpointer/activity_log.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer::power {

/// What the world does wrong, to show that it would be noticed.
enum class Mutant {
  none,
  log_after_write,
  drop_at_commit,  ///< an extent leaves the log when the backup has only acknowledged its writes
  own_image_not_flushed,  ///< ... when they are only in the own page cache
  pair_at_commit,         ///< both take the new id when the first epoch is acknowledged
  map_without_ours,
  map_without_theirs,
  same_id_again,       ///< for another host
  old_journal,         ///< of the session before, which is repeated on top of this one
  back_unmarked,       ///< a rewind writes what the log does not name
  back_journal_first,  ///< ... or names it when the journal would already repeat it
  count,
};

struct PowerLoss {
  std::size_t host;
};

class Fate {
 public:
  explicit Fate(std::uint64_t seed) : random_{seed} {}
  [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  [[nodiscard]] bool one_in(std::uint64_t times) { return below(times) == 0; }
  void arm() { left_ = 1 + below(40); }
  void disarm() { left_ = 0; }
  [[nodiscard]] bool strikes() { return left_ > 0 && --left_ == 0; }
  /// A moment at which a host may die.
  void step(std::size_t host) {
    if (strikes()) throw PowerLoss{host};
  }

 private:
  std::mt19937_64 random_;
  std::uint64_t left_{};
};

using File = std::optional<std::vector<std::byte>>;

class Store final : public ActivityStore {
 public:
  Store(File& file, Fate& fate, std::size_t host) : file_{file}, fate_{fate}, host_{host} {}

  Result<File> load() override { return file_; }
  Result<> replace(std::span<const std::byte> file) override {
    const bool dies = fate_.strikes();
    if (!dies || fate_.one_in(2)) file_ = std::vector<std::byte>(file.begin(), file.end());
    if (dies) throw PowerLoss{host_};
    return {};
  }
  Result<> append(const ActivityBatch& batch) override {
    const bool dies = fate_.strikes();
    for (std::size_t i = 0; i < batch.bytes.size(); i += 8) {
      const auto word = std::span{batch.bytes}.subspan(i, 8);
      if (!dies || fate_.one_in(2))
        std::ranges::copy(word, file_->begin() + static_cast<std::ptrdiff_t>(batch.at + i));
    }
    if (dies) throw PowerLoss{host_};
    return {};
  }
  Result<> remove() override {
    const bool dies = fate_.strikes();
    if (!dies || fate_.one_in(2)) file_.reset();
    if (dies) throw PowerLoss{host_};
    return {};
  }

 private:
  File& file_;
  Fate& fate_;
  std::size_t host_;
};

/// A block stands for a chunk: two of each extent.
inline constexpr std::size_t extents = 8;
inline constexpr std::size_t blocks = 2 * extents;

struct Write {
  std::size_t block;
  std::uint32_t value;
};
using Writes = std::vector<Write>;

struct Host {
  std::vector<std::uint32_t> cached = std::vector<std::uint32_t>(blocks);
  std::vector<std::uint32_t> durable = cached;
  File file;
  std::optional<Writes> journal;
  std::unique_ptr<ActivityLog> log;  ///< null: it is down
  bool forgets{};                    ///< an operator vouches for its images
  std::vector<std::uint32_t> past;   ///< a replica's, at an earlier epoch; none is kept
};

/// A backup that is being or has been synchronised.
struct Session {
  std::size_t backup{};
  PairId next;
  bool logging{};
  std::set<std::size_t> marked;
  Writes running;
  Epoch epoch{1};
  std::deque<Writes> sealed;  ///< on their way

  // the backup's
  bool joined{};
  bool overwriting{};
  bool whole{};
  bool paired{};
  Writes contents;  ///< of the synchronisation, in its memory
  Writes epochs;    ///< the same
  Epoch committed;
  Epoch durable;
};

class World {
 public:
  World(std::uint64_t seed, Mutant mutant)
      : fate_{seed}, mutant_{mutant}, hosts_(2 + fate_.below(2)) {
    for (auto& host : hosts_) {
      for (auto& block : host.durable) block = ++value_;
      host.cached = host.durable;
    }
  }

  /// Whether every synchronisation, and the epochs since, left both images equal.
  [[nodiscard]] bool run(std::size_t ticks) {
    for (std::size_t i = 0; i < ticks && equal_; ++i) {
      try {
        tick();
      } catch (const PowerLoss& loss) {
        fate_.disarm();
        die(loss.host);
        if (fate_.one_in(3)) die(fate_.below(hosts_.size()));
      }
    }
    return equal_;
  }

  [[nodiscard]] std::uint64_t compared() const { return compared_; }
  [[nodiscard]] std::uint64_t by_map() const { return by_map_; }
  [[nodiscard]] std::uint64_t rewinds() const { return rewinds_; }
  [[nodiscard]] std::uint64_t synchronisations() const { return synchronisations_; }

 private:
  Host& active() { return hosts_[active_]; }
  Host& backup() { return hosts_[session_->backup]; }

  void tick() {
    if (promotes_) return promote();
    if (fate_.one_in(12)) fate_.arm();
    if (fate_.one_in(6)) boot(fate_.below(hosts_.size()));
    if (fate_.one_in(40)) return die(fate_.below(hosts_.size()));
    write_back(hosts_[fate_.below(hosts_.size())]);
    if (!active().log) return fate_.one_in(25) ? accept_others() : boot(active_);
    if (fate_.one_in(2)) guest_writes();
    if (!session_) return protect();
    switch (fate_.below(9)) {
      case 0:
      case 1: return seal();
      case 2:
      case 3: return commit();
      case 4: return apply();
      case 5: return poll();
      case 6:
        if (fate_.one_in(4)) return end_session();
        return;
      case 7:
        if (fate_.one_in(4)) return switch_over();
        return;
      default:
        if (fate_.one_in(2)) return check();
    }
  }

  // --- a host
  void boot(std::size_t number) {
    auto& host = hosts_[number];
    if (host.log) return;
    auto log = std::make_unique<ActivityLog>(
        "pg", std::make_unique<Store>(host.file, fate_, number),
        ActivityLog::Images{[] {
                              return Result<std::vector<ImageIdentity>>{
                                  {{extents * limits::activity_extent_bytes, 1, 1, 1}}};
                            },
                            [this, number] { return flush_own(number); }});
    if (!log->open()) return;
    if (host.journal) {
      write(number, *host.journal);
      flush(number);
      host.journal.reset();
    }
    if (host.forgets && !log->forget("an operator accepts these images")) return;
    host.forgets = false;
    host.log = std::move(log);
  }

  void die(std::size_t number) {
    auto& host = hosts_[number];
    if (!host.log) return settle_cache(host);
    host.log.reset();
    settle_cache(host);
    if (!session_) return;
    if (number == session_->backup) {
      promotes_ = false;
      return session_.reset();
    }
    if (number != active_) return;
    if (session_->committed != Epoch{} && !fate_.one_in(3)) {
      promotes_ = true;
    } else {
      session_.reset();  // what the backup had only in memory is dropped
    }
  }

  /// Its daemon died, or all of it.
  void settle_cache(Host& host) {
    if (fate_.one_in(2)) return;
    for (std::size_t i = 0; i < blocks; ++i) {
      if (fate_.one_in(2)) host.cached[i] = host.durable[i];
    }
    host.durable = host.cached;
  }

  void write_back(Host& host) {
    const auto block = fate_.below(blocks);
    host.durable[block] = host.cached[block];
  }

  void write(std::size_t number, const Writes& writes) {
    for (const auto& one : writes) {
      fate_.step(number);
      hosts_[number].cached[one.block] = one.value;
    }
  }

  void flush(std::size_t number) {
    fate_.step(number);
    hosts_[number].durable = hosts_[number].cached;
  }

  std::error_code flush_own(std::size_t number) {
    if (mutant_ != Mutant::own_image_not_flushed) flush(number);
    return {};
  }

  // --- the active one
  void guest_writes() {
    const Write one{fate_.below(fate_.one_in(2) ? 4 : blocks), ++value_};
    const auto offset = one.block / 2 * limits::activity_extent_bytes + one.block % 2 * 65536;
    std::optional<ActivityLog::Write> logged;
    const auto log = [&] { logged.emplace(active().log.get(), std::uint16_t{0}, offset, 512U); };
    if (mutant_ != Mutant::log_after_write) log();
    if (fate_.one_in(4)) poll();
    write(active_, {one});
    if (session_ && session_->logging) session_->running.push_back(one);
    if (session_ && !session_->logging) session_->marked.insert(one.block);
    fate_.step(active_);
    if (mutant_ == Mutant::log_after_write) log();
  }

  void protect() {
    const auto other = fate_.below(hosts_.size());
    if (other == active_ || !hosts_[other].log || !fate_.one_in(3)) return;
    session_.emplace();
    session_->backup = other;
    backup().past.clear();
    fate_.step(other);
    if (mutant_ != Mutant::old_journal) backup().journal.reset();  // the images are opened anew
    synchronise();
  }

  void synchronise() {
    auto& session = *session_;
    session.next = {fate_.below(1U << 30U) + 1, ++value_};
    if (mutant_ == Mutant::same_id_again && !active().log->known().pair.none())
      session.next = active().log->known().pair;
    const auto ours = active().log->begin_session(session.next);
    const auto theirs = backup().log->known();
    session.joined = !ours.pair.none() && ours.pair == theirs.pair;
    ++synchronisations_;
    if (session.joined) ++by_map_;
    std::set<std::uint64_t> differ;
    if (mutant_ != Mutant::map_without_ours) {
      for (const auto& one : ours.marked) differ.insert(one.index);
    }
    if (mutant_ != Mutant::map_without_theirs) {
      for (const auto& one : theirs.marked) differ.insert(one.index);
    }
    for (std::size_t block = 0; block < blocks; ++block) {
      if (session.joined && !differ.contains(block / 2)) continue;
      ++compared_;
      fate_.step(fate_.one_in(2) ? active_ : session.backup);
      if (fate_.one_in(4)) guest_writes();
      if (fate_.one_in(4)) apply();
      if (active().cached[block] != replica()[block]) send(block);
    }
    send_marked();
    if (fate_.one_in(2)) guest_writes();
    send_marked();
    session.logging = true;
    if (fate_.one_in(2)) guest_writes();
    check();
  }

  void send(std::size_t block) { session_->contents.push_back({block, active().cached[block]}); }

  void send_marked() {
    for (const auto block : std::exchange(session_->marked, {})) send(block);
  }

  void seal() {
    active().log->seal(session_->epoch);
    session_->epoch = session_->epoch.next();
    session_->sealed.push_back(std::exchange(session_->running, {}));
  }

  void poll() {
    if (!session_) return;
    const auto& session = *session_;
    if (!session.paired) return;
    const bool early = mutant_ == Mutant::drop_at_commit;
    active().log->durable(session.next, early ? session.committed : session.durable);
    clock_ += std::chrono::hours{1};  // nothing is too warm to go
    active().log->clean(clock_);
  }

  // --- the backup
  void commit() {
    auto& session = *session_;
    if (session.sealed.empty()) return;
    for (const auto& one : session.sealed.front()) session.epochs.push_back(one);
    session.sealed.pop_front();
    session.committed = session.committed.next();
    if (mutant_ == Mutant::pair_at_commit && session.committed == Epoch{1}) {
      session.paired = backup().log->adopt(session.next);
      session.durable = session.committed;
    }
  }

  void apply() {
    auto& session = *session_;
    auto& host = backup();
    const auto number = session.backup;
    if (!std::exchange(session.overwriting, true) && !session.joined) {
      if (!host.log->forget("it is written over")) return;
    }
    write(number, session.contents);
    session.contents.clear();
    if (session.committed == session.durable && mutant_ != Mutant::pair_at_commit) return;
    if (session.whole) {
      fate_.step(number);
      host.journal = session.epochs;
    }
    if (session.whole && fate_.one_in(2)) host.past = host.cached;
    write(number, session.epochs);
    flush(number);
    session.epochs.clear();
    if (session.whole) {
      if (fate_.one_in(2)) host.journal.reset();  // else a power loss has undone that
    } else {
      session.whole = true;
      if (mutant_ != Mutant::pair_at_commit) session.paired = host.log->adopt(session.next);
    }
    fate_.step(number);
    session.durable = session.committed;
  }

  /// What the backup has, with what waits in its memory.
  [[nodiscard]] std::vector<std::uint32_t> replica() {
    auto image = backup().cached;
    for (const auto* writes : {&session_->contents, &session_->epochs}) {
      for (const auto& one : *writes) image[one.block] = one.value;
    }
    return image;
  }

  void commit_all() {
    seal();
    while (!session_->sealed.empty()) commit();
  }

  /// As `understudy verify`.
  void check() {
    commit_all();
    equal_ = equal_ && replica() == active().cached;
  }

  void end_session() {
    if (fate_.one_in(2)) apply();
    session_.reset();
  }

  void promote() {
    promotes_ = false;
    const auto number = session_->backup;
    active_ = number;
    hosts_[number].forgets = true;  // should it die now, it is no host to start by itself
    apply();
    session_.reset();
    fate_.step(number);
    hosts_[number].journal.reset();
    hosts_[number].forgets = false;
  }

  void switch_over() {
    check();
    if (fate_.one_in(2)) turn_back();
    active().log.reset();  // its daemon is restarted
    promote();
  }

  /// The backup goes back before it is promoted. If it dies meanwhile, the guest goes on where it
  /// was handed over.
  void turn_back() {
    auto& host = backup();
    const auto number = session_->backup;
    apply();
    if (!session_->whole) return;
    Writes writes;
    for (std::size_t block = 0; block < blocks; ++block) {
      if (!host.past.empty() && host.past[block] != host.cached[block])
        writes.push_back({block, host.past[block]});
    }
    const auto mark = [&] {
      if (mutant_ == Mutant::back_unmarked) return;
      for (const auto& one : writes) {
        const ActivityLog::Write differs{host.log.get(), std::uint16_t{0},
                                         one.block / 2 * limits::activity_extent_bytes, 512U};
        fate_.step(number);
      }
    };
    if (mutant_ != Mutant::back_journal_first) mark();
    host.journal = writes;
    fate_.step(number);
    if (mutant_ == Mutant::back_journal_first) mark();
    write(number, writes);
    flush(number);
    if (fate_.one_in(2)) host.journal.reset();
    ++rewinds_;
  }

  void accept_others() {
    const auto other = fate_.below(hosts_.size());
    if (!hosts_[other].log || !hosts_[other].log->forget("accepted")) return;
    active_ = other;
  }

  Fate fate_;
  const Mutant mutant_;
  std::vector<Host> hosts_;
  std::size_t active_{};
  std::optional<Session> session_;
  bool promotes_{};
  bool equal_{true};
  std::uint32_t value_{};
  TimePoint clock_{now() + std::chrono::hours{1}};
  std::uint64_t compared_{};
  std::uint64_t by_map_{};
  std::uint64_t rewinds_{};
  std::uint64_t synchronisations_{};
};

}  // namespace understudy::checkpointer::power
