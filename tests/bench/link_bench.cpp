// What a replication session costs between two hosts: bursts of pages, each an epoch, the next when
// the last is committed.
//
//   link_bench serve tcp|dpdk WHERE [--key FILE]     host b, until its input ends
//   link_bench send tcp|dpdk WHERE [--key FILE]      host a: one line of JSON
//
// With --pause-ms the threads sleep between epochs, as a guest's do. With --trace FILE each side
// writes there when it did what with each epoch, by the clock of the machine that both share.
//
// WHERE is b's endpoint over TCP, this host's device over DPDK. The backup's side checks nothing
// and copies every page record once, as a replica does.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "config/log.hpp"
#include "config/names.hpp"
#include "config/priority.hpp"
#include "replication/checkpoint_sender.hpp"
#include "replication/datagram_host.hpp"
#include "replication/dpdk_port.hpp"
#include "replication/replication_server.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

constexpr std::size_t record_bytes = page_bytes + 8;
constexpr std::size_t records_per_frame = limits::frame_payload_bytes / record_bytes;
constexpr std::uint64_t ram_bytes = 256U << 20U;
constexpr auto patience = seconds{30};

/// Moments of each epoch in microseconds, a line each; written when it ends.
class Trace {
 public:
  explicit Trace(std::string file) : file_{std::move(file)} {}
  ~Trace() {
    if (file_.empty()) return;
    std::ofstream out{file_};
    for (const auto& line : lines_) out << line << '\n';
  }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  void note(Epoch epoch, std::initializer_list<TimePoint> moments) {
    if (file_.empty()) return;
    auto line = fmt::format("{}", epoch);
    for (const auto at : moments) {
      line += fmt::format(" {}", in_microseconds(at.time_since_epoch()).count());
    }
    lines_.push_back(std::move(line));
  }

 private:
  std::string file_;
  std::vector<std::string> lines_;
};

/// One thread, that of its session.
class CopyingReplica final : public ReplicaEvents {
 public:
  explicit CopyingReplica(std::string trace) : trace_{std::move(trace)} {}
  Result<> on_sync_pages(std::span<const std::byte> payload) override {
    copy(payload);
    return {};
  }
  Result<> on_check(std::span<const std::byte> /*payload*/) override {
    if (!first_) first_ = now();
    return {};
  }
  Result<> on_check_seal(const Seal& /*seal*/) override {
    whole_ = now();
    return {};
  }
  void on_commit(const StagedEpoch& epoch) override {
    trace_.note(epoch.epoch, {first_.value_or(whole_), whole_});
    first_.reset();
    for (const auto& payload : epoch.payloads) copy(payload);
  }
  Reply on_request(const Request& /*request*/, const KeepGoing& /*keep_going*/) override {
    return {};
  }
  void on_end(const Error& /*reason*/) override {}

 private:
  void copy(std::span<const std::byte> payload) {
    if (at_ + payload.size() > image_.size()) at_ = 0;
    std::ranges::copy(payload, image_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ += payload.size();
  }

  std::vector<std::byte> image_ = std::vector<std::byte>(ram_bytes);
  std::size_t at_{};
  Trace trace_;
  std::optional<TimePoint> first_;
  TimePoint whole_;
};

/// When each epoch was committed.
class Commits {
 public:
  void note(Epoch epoch) {
    const std::lock_guard lock{mutex_};
    last_ = epoch;
    at_ = now();
    changed_.notify_all();
  }
  Result<TimePoint> wait(Epoch epoch) {
    std::unique_lock lock{mutex_};
    if (!changed_.wait_for(lock, patience, [&] { return last_ >= epoch; })) {
      return fail(ErrorKind::timed_out, "epoch {} was not committed", epoch);
    }
    return at_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Epoch last_;
  TimePoint at_;
};

struct Options {
  std::string link;
  std::string where;
  std::string key;
  std::size_t bytes{10'000'000};
  std::size_t bursts{100};
  unsigned pause_ms{};
  std::string trace;
};

[[nodiscard]] Result<std::shared_ptr<Transport>> make_transport(const Options& options,
                                                                const std::string& this_host) {
  std::shared_ptr<const Credentials> key;
  if (!options.key.empty()) {
    UNDERSTUDY_TRY(key, Credentials::load(options.key));
  }
  if (options.link == "tcp") return tcp_transport(key);
  UNDERSTUDY_TRY(auto port, open_dpdk_port({.device = options.where}));
  return std::make_shared<DatagramHost>(
      DatagramHost::Plan{std::move(port), "dpdk", "bench", this_host, secured_by(std::move(key))});
}

/// Over DPDK nobody connects to it.
[[nodiscard]] Result<Endpoint> endpoint_of(const Options& options) {
  if (options.link != "tcp") return Endpoint{"127.0.0.1", 0};
  return parse_endpoint(options.where);
}

class Primary {
 public:
  explicit Primary(const std::string& trace) : trace_{trace} {}

  [[nodiscard]] Result<> open(const Options& options) {
    UNDERSTUDY_TRY(auto transport, make_transport(options, "a"));
    UNDERSTUDY_TRY(const auto endpoint, endpoint_of(options));
    Offer offer;
    offer.mutable_guest()->set_name("guest");
    auto* block = offer.add_ram_block();
    block->set_name("pc.ram");
    block->set_used_bytes(ram_bytes);
    block->set_max_bytes(ram_bytes);
    SenderEvents events;
    events.committed = [this](Epoch epoch) { commits_.note(epoch); };
    UNDERSTUDY_TRY(sender_, CheckpointSender::open({"bench", "a", "b", endpoint, transport}, offer,
                                                   patience, std::move(events)));
    return {};
  }

  /// From its first page to its commit; nothing else is under way.
  [[nodiscard]] Result<Duration> burst(std::size_t bytes) {
    const auto begin = now();
    std::size_t frames = 0;
    for (auto left = bytes / record_bytes; left > 0; ++frames) {
      const auto records = std::min(left, records_per_frame);
      UNDERSTUDY_CHECK(send_pages(records, FrameType::pages, epoch_.next()));
      left -= records;
    }
    UNDERSTUDY_CHECK(send_seal(frames));
    const auto sealed = now();
    UNDERSTUDY_TRY(const auto end, commits_.wait(epoch_));
    trace_.note(epoch_, {begin, sealed, end});
    return end - begin;
  }

  [[nodiscard]] SenderStatus status() const { return sender_->status(); }

 private:
  [[nodiscard]] Result<> send_pages(std::size_t records, FrameType type, Epoch epoch) {
    UNDERSTUDY_TRY(auto buffer, sender_->acquire(patience));
    std::ranges::copy(std::span{pages_}.first(records * record_bytes), buffer.room().begin());
    buffer.set_payload_bytes(records * record_bytes);
    sender_->submit(std::move(buffer), type, epoch);
    return {};
  }

  [[nodiscard]] Result<> send_seal(std::size_t frames) {
    Seal seal;
    seal.set_frames(frames);
    seal.set_device_bytes(1);
    seal.add_used_bytes(ram_bytes);
    const auto bytes = seal.SerializeAsString();
    UNDERSTUDY_TRY(auto buffer, sender_->acquire(patience));
    std::memcpy(buffer.room().data(), bytes.data(), bytes.size());
    buffer.set_payload_bytes(bytes.size());
    epoch_ = epoch_.next();
    sender_->submit(std::move(buffer), FrameType::seal, epoch_);
    return {};
  }

  Trace trace_;
  Commits commits_;
  std::vector<std::byte> pages_ =
      std::vector<std::byte>(limits::frame_payload_bytes, std::byte{0x5A});
  Epoch epoch_;
  std::unique_ptr<CheckpointSender> sender_;
};

[[nodiscard]] Result<> serve(const Options& options) {
  UNDERSTUDY_TRY(auto transport, make_transport(options, "b"));
  UNDERSTUDY_TRY(const auto endpoint, endpoint_of(options));
  UNDERSTUDY_TRY(const auto server,
                 ReplicationServer::listen(endpoint, "bench", "b",
                                           [&options](const auto&, const auto&) {
                                             return std::make_shared<CopyingReplica>(options.trace);
                                           },
                                           {std::move(transport)}));
  fmt::print("serving\n");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return {};
}

/// Tells when it begins and ends, and waits for a line of input at both, for CPU time to be read.
[[nodiscard]] Result<> send(const Options& options) {
  Primary primary{options.trace};
  UNDERSTUDY_CHECK(primary.open(options));
  for (int i = 0; i < 5; ++i)
    UNDERSTUDY_CHECK(primary.burst(options.bytes));  // fills what is empty
  fmt::print("warm\n");
  std::fflush(stdout);
  static_cast<void>(std::getchar());
  std::vector<Duration> took;
  for (std::size_t i = 0; i < options.bursts; ++i) {
    std::this_thread::sleep_for(milliseconds{options.pause_ms});
    UNDERSTUDY_TRY(const auto one, primary.burst(options.bytes));
    took.push_back(one);
  }
  Duration sum{};
  for (const auto one : took) sum += one;
  std::ranges::sort(took);
  const auto us = [&](std::size_t hundredth) {
    return in_microseconds(took[(took.size() - 1) * hundredth / 100]).count();
  };
  fmt::print(
      "{{\"bytes\": {}, \"seconds\": {:.6f}, \"p50_us\": {}, \"p99_us\": {}, \"resent\": {}}}\n",
      options.bytes * options.bursts, std::chrono::duration<double>(sum).count(), us(50), us(99),
      primary.status().resent_frames);
  std::fflush(stdout);
  static_cast<void>(std::getchar());
  return {};
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): a bench may die of what it does not expect
int main(int argc, char** argv) {
  CLI::App app{"Bursts of pages between two hosts"};
  Options options;
  app.require_subcommand(1);
  for (const auto* side : {"serve", "send"}) {
    auto* command = app.add_subcommand(side);
    command->add_option("LINK", options.link)->required()->check(CLI::IsMember({"tcp", "dpdk"}));
    command->add_option("WHERE", options.where)->required();
    command->add_option("--key", options.key);
    command->add_option("--bytes", options.bytes)->check(CLI::Range(100'000, 50'000'000));
    command->add_option("--bursts", options.bursts)->check(CLI::Range(1, 1'000'000));
    command->add_option("--pause-ms", options.pause_ms)->check(CLI::Range(0, 1000));
    command->add_option("--trace", options.trace);
  }
  CLI11_PARSE(app, argc, argv);
  log::configure(log::Level::warning, "");
  static_cast<void>(ask_for_real_time());  // as the daemon's threads are, by either link
  const auto done = app.got_subcommand("serve") ? serve(options) : send(options);
  if (done) return 0;
  fmt::print(stderr, "link_bench: {}\n", done.error().message);
  return 1;
}
