// What the replication session costs by itself: both ends in this process, TCP over loopback.
//
//   replication_bench [EPOCHS [BULK_MIB]] prints a short table, in clear text and encrypted
//
// The backup's side checks nothing and copies every page record once, as a replica does.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <random>
#include <vector>

#include <CLI/CLI.hpp>

#include "config/log.hpp"
#include "config/unique_fd.hpp"
#include "replication/checkpoint_sender.hpp"
#include "replication/replication_server.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

constexpr std::size_t epoch_pages = 400;
constexpr std::size_t record_bytes = page_bytes + 8;
constexpr std::size_t records_per_frame = limits::frame_payload_bytes / record_bytes;
constexpr std::uint64_t ram_bytes = 256U << 20U;
constexpr auto patience = seconds{30};

class CopyingReplica final : public ReplicaEvents {
 public:
  Result<> on_sync_pages(std::span<const std::byte> payload) override {
    copy(payload);
    return {};
  }
  Result<> on_check(std::span<const std::byte> /*payload*/) override { return {}; }
  Result<> on_check_seal(const Seal& /*seal*/) override { return {}; }
  void on_commit(const StagedEpoch& epoch) override {
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

struct Latency {
  std::vector<Duration> samples;
  [[nodiscard]] long quantile(double part) {
    std::ranges::sort(samples);
    const auto index = static_cast<std::size_t>(part * static_cast<double>(samples.size() - 1));
    return in_microseconds(samples[index]).count();
  }
};

class Bench {
 public:
  [[nodiscard]] Result<> open(const std::shared_ptr<const Credentials>& key) {
    UNDERSTUDY_TRY(server_, ReplicationServer::listen({"127.0.0.1", 0}, "bench", "b",
                                                      [](const auto&, const auto&) {
                                                        return std::make_shared<CopyingReplica>();
                                                      },
                                                      {tcp_transport(key)}));
    Offer offer;
    offer.mutable_guest()->set_name("guest");
    auto* block = offer.add_ram_block();
    block->set_name("pc.ram");
    block->set_used_bytes(ram_bytes);
    block->set_max_bytes(ram_bytes);
    SenderEvents events;
    events.committed = [this](Epoch epoch) { commits_.note(epoch); };
    UNDERSTUDY_TRY(sender_, CheckpointSender::open(
                                {"bench", "a", "b", server_->endpoint(), tcp_transport(key)}, offer,
                                patience, std::move(events)));
    return {};
  }

  /// Pages of the full synchronisation as fast as they go; MB/s until the backup holds all.
  [[nodiscard]] Result<double> bulk(std::size_t mib) {
    const auto frames = (mib << 20U) / (records_per_frame * record_bytes);
    const auto begin = now();
    for (std::size_t i = 0; i < frames; ++i) {
      UNDERSTUDY_CHECK(send_pages(records_per_frame, FrameType::sync_pages, Epoch{}));
    }
    UNDERSTUDY_CHECK(send_seal(0));
    UNDERSTUDY_TRY(const auto end, commits_.wait(epoch_));
    const auto bytes = static_cast<double>(frames * records_per_frame * record_bytes);
    return bytes / std::chrono::duration<double>(end - begin).count() / 1e6;
  }

  /// One epoch, the next when it is committed.
  [[nodiscard]] Result<> epochs(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) UNDERSTUDY_CHECK(epoch());
    return {};
  }

  Latency from_begin;
  Latency from_seal;

 private:
  [[nodiscard]] Result<> epoch() {
    const auto begin = now();
    std::size_t frames = 0;
    for (auto left = epoch_pages; left > 0; ++frames) {
      const auto records = std::min(left, records_per_frame);
      UNDERSTUDY_CHECK(send_pages(records, FrameType::pages, epoch_.next()));
      left -= records;
    }
    const auto sealed = now();
    UNDERSTUDY_CHECK(send_seal(frames));
    UNDERSTUDY_TRY(const auto end, commits_.wait(epoch_));
    from_begin.samples.push_back(end - begin);
    from_seal.samples.push_back(end - sealed);
    return {};
  }

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

  Commits commits_;
  std::vector<std::byte> pages_ =
      std::vector<std::byte>(limits::frame_payload_bytes, std::byte{0x5A});
  Epoch epoch_;
  std::unique_ptr<ReplicationServer> server_;
  std::unique_ptr<CheckpointSender> sender_;
};

/// Of this run only.
[[nodiscard]] Result<std::shared_ptr<const Credentials>> make_key() {
  std::string path{"/tmp/understudy-bench-XXXXXX"};
  const UniqueFd file{::mkstemp(path.data())};
  std::array<std::uint32_t, limits::shared_key_bytes / sizeof(std::uint32_t)> words;
  std::random_device random;
  for (auto& word : words) word = random();
  if (!file || ::write(file.get(), words.data(), sizeof words) != sizeof words) {
    return fail_errno(path);
  }
  auto key = Credentials::load(path);
  ::unlink(path.c_str());
  return key;
}

struct Numbers {
  double rate;        ///< MB/s
  double cpu_per_gb;  ///< seconds of this process, both ends, while in bulk
  Latency from_begin;
  Latency from_seal;
};

[[nodiscard]] Result<Numbers> measure(std::size_t epochs, std::size_t bulk_mib,
                                      const std::shared_ptr<const Credentials>& key) {
  Bench bench;
  UNDERSTUDY_CHECK(bench.open(key));
  const auto begin = std::clock();
  UNDERSTUDY_TRY(const auto rate, bench.bulk(bulk_mib));
  const auto cpu = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  UNDERSTUDY_CHECK(bench.epochs(epochs));
  return Numbers{rate, cpu * 1e9 / static_cast<double>(bulk_mib << 20U),
                 std::move(bench.from_begin), std::move(bench.from_seal)};
}

[[nodiscard]] Result<> run(std::size_t epochs, std::size_t bulk_mib) {
  UNDERSTUDY_TRY(const auto key, make_key());
  UNDERSTUDY_TRY(auto clear, measure(epochs, bulk_mib, nullptr));
  UNDERSTUDY_TRY(auto encrypted, measure(epochs, bulk_mib, key));
  fmt::print("replication over TCP, loopback, one process {:>19} {:>17}\n", "clear", "encrypted");
  fmt::print("  {:44} {:8.0f} MB/s {:12.0f} MB/s\n", fmt::format("bulk, {} MiB", bulk_mib),
             clear.rate, encrypted.rate);
  fmt::print("  {:44} {:8.2f} s    {:12.2f} s\n", "  CPU time of both ends for 1 GB",
             clear.cpu_per_gb, encrypted.cpu_per_gb);
  fmt::print("  {:44} {:>8} {:>8} {:>8} {:>8}\n",
             fmt::format("{} epochs of {} pages, one by one", epochs, epoch_pages), "p50 us",
             "p99 us", "p50 us", "p99 us");
  const auto row = [](const char* what, Latency& one, Latency& other) {
    fmt::print("  {:44} {:8} {:8} {:8} {:8}\n", what, one.quantile(0.5), one.quantile(0.99),
               other.quantile(0.5), other.quantile(0.99));
  };
  row("  seal to commit", clear.from_seal, encrypted.from_seal);
  row("  first page to commit", clear.from_begin, encrypted.from_begin);
  return {};
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): a bench may die of what it does not expect
int main(int argc, char** argv) {
  CLI::App app{"Commit latency and throughput of the replication session over loopback"};
  std::size_t epochs = 2000;
  std::size_t bulk_mib = 4096;
  app.add_option("EPOCHS", epochs)->check(CLI::Range(1, 1'000'000));
  app.add_option("BULK_MIB", bulk_mib)->check(CLI::Range(1, 1 << 20));
  CLI11_PARSE(app, argc, argv);
  log::configure(log::Level::warning, "");
  if (const auto done = run(epochs, bulk_mib); !done) {
    fmt::print(stderr, "replication_bench: {}\n", done.error().message);
    return 1;
  }
  return 0;
}
