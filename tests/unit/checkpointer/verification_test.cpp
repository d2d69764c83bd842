// A guest compared with its replica, its disks while it runs.
#include "checkpointer/verification.hpp"

#include <catch2/catch.hpp>

#include "checkpointer/disk_chunks.hpp"
#include "checkpointer/disk_digest.hpp"
#include "config/content_hash.hpp"
#include "config/limits.hpp"
#include "world.hpp"

using namespace understudy;
using namespace understudy::checkpointer;

namespace {

using Bytes = std::vector<std::byte>;
using Offsets = std::vector<std::uint64_t>;

constexpr std::uint64_t chunk = limits::disk_chunk_bytes;

/// What a failing medium does: nobody who keeps the image knows of it.
void damage(const DiskDirectory& directory, int disk, std::uint64_t offset) {
  std::fstream file{directory.image(disk), std::ios::in | std::ios::out | std::ios::binary};
  file.seekg(static_cast<std::streamoff>(offset));
  const auto byte = static_cast<char>(file.get() ^ 0x5a);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

/// Both hosts' images, once the backup has all that it was sent.
bool images_are_equal(World& world, const DiskPair& pair) {
  if (!world.settle()) return false;
  world.backup.stop();
  if (!world.backup.finish_disks()) return false;
  for (int i = 0; i < static_cast<int>(pair.active->size()); ++i)
    if (pair.here.contents(i) != pair.there.contents(i)) return false;
  return true;
}

/// A guest that writes to the first halves of its disks' chunks, until it goes.
class Writer {
 public:
  Writer(World& world, GuestDisks& disks)
      : thread_{[this, &world, &disks] {
          Random random{7};
          while (!over_) {
            world.machine.as_guest([&] { write(disks.disk(pick(random, disks.size())), random); });
            ++writes_;
            std::this_thread::sleep_for(std::chrono::microseconds{100});
          }
        }} {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    over_ = true;
    thread_.join();
  }
  [[nodiscard]] int writes() const { return writes_; }

 private:
  static void write(GuestDisk& disk, Random& random) {
    const auto at = pick(random, disk.chunks()) * chunk + pick(random, 64) * 512;
    const auto bytes = 512 * (1 + pick(random, 8));
    if (pick(random, 8) == 0) {
      static_cast<void>(disk.zero(at, static_cast<std::uint32_t>(bytes), Hole::allowed));
    } else {
      static_cast<void>(disk.write(at, random_bytes(random(), bytes)));
    }
  }

  std::atomic<bool> over_{};
  std::atomic<int> writes_{};
  std::thread thread_;
};

/// Something in every chunk.
void write_everywhere(GuestDisks& disks, std::uint64_t seed) {
  for (std::size_t i = 0; i < disks.size(); ++i) {
    for (std::uint64_t at = 0; at < disks.disk(i).bytes(); at += chunk)
      static_cast<void>(disks.disk(i).write(at, random_bytes(seed + at, 512)));
  }
}

replication::DiskDigestReply answer_of(GuestDisk& disk,
                                       const replication::DiskDigestRequest& question) {
  replication::DiskDigestReply answer;
  const Offsets chunks{question.chunk().begin(), question.chunk().end()};
  const auto digests = digest_chunks(disk, chunks);
  for (const auto& digest : digests.value()) answer.add_chunk_digest(digest);
  return answer;
}

}  // namespace

TEST_CASE("a chunk that was damaged on the backup's disk is found, and repaired when asked for") {
  DiskPair pair{2};
  World world{31, {4, 2}, 50, &pair};
  REQUIRE(world.protect());
  write_everywhere(*pair.active, 1);
  REQUIRE(world.settle());
  const auto clean = world.verify();
  REQUIRE(clean);
  REQUIRE(clean->disks.size() == 2);
  CHECK(clean->disks[0].different + clean->disks[1].different == 0);

  REQUIRE(pair.standby->disk(1).image().bytes() == small_disk_bytes);
  damage(pair.there, 1, chunk + 4000);
  damage(pair.there, 1, small_disk_bytes - 1);
  const auto found = world.verify();
  REQUIRE(found);
  CHECK(found->disks[0].different == 0);
  CHECK(found->disks[1].path == pair.here.image(1));
  CHECK(found->disks[1].different == 2);
  CHECK(found->disks[1].different_at == Offsets{chunk, 4 * chunk});
  CHECK(found->disks[1].repaired == 0);
  CHECK(found->blocks.size() == 4);
  CHECK(std::ranges::all_of(found->blocks, &BlockVerdict::identical));

  const auto repaired = world.verify(Repair::yes);
  REQUIRE(repaired);
  CHECK(repaired->disks[1].different == 2);
  CHECK(repaired->disks[1].repaired == 2);
  const auto again = world.verify();
  REQUIRE(again);
  CHECK(again->disks[1].different == 0);
  CHECK(images_are_equal(world, pair));
}

TEST_CASE("what the guest writes during the comparison is no difference, however much it is") {
  DiskPair pair{2, 40 * chunk};
  World world{32, {4, 2}, 50, &pair};
  REQUIRE(world.protect());
  {
    const Writer writer{world, *pair.active};
    for (int round = 0; round < 5; ++round) {
      const auto before = writer.writes();
      REQUIRE(world.run_until([&] { return writer.writes() > before + 50; }));
      const auto verdict = world.verify(Repair::yes, 10);
      REQUIRE(verdict);
      CHECK(verdict->disks[0].different + verdict->disks[1].different == 0);
      CHECK(std::ranges::all_of(verdict->blocks, &BlockVerdict::identical));
    }
  }
  CHECK(images_are_equal(world, pair));
}

TEST_CASE("damage is found under the guest's writes, and repaired under them") {
  DiskPair pair{1, 40 * chunk};
  World world{33, {4, 2}, 50, &pair};
  REQUIRE(world.protect());
  REQUIRE(world.settle());
  {
    const Writer writer{world, *pair.active};
    REQUIRE(world.run_until([&] { return writer.writes() > 50; }));
    for (std::uint64_t i = 0; i < 40; ++i) damage(pair.there, 0, i * chunk + 60'000);
    const auto verdict = world.verify(Repair::yes, 10);
    REQUIRE(verdict);
    CHECK(verdict->disks[0].different == 40);
    CHECK(verdict->disks[0].repaired == 40);
    CHECK(verdict->disks[0].different_at.size() == 8);
    const auto again = world.verify(Repair::no, 10);
    REQUIRE(again);
    CHECK(again->disks[0].different == 0);
  }
  CHECK(images_are_equal(world, pair));
}

TEST_CASE("the guest runs while its disks are compared, and each epoch is committed") {
  DiskPair pair{1, 200 * chunk};
  World world{34, {4, 2}, 50, &pair};
  REQUIRE(world.protect());
  const auto asked = world.backup.replica().asked();
  world.machine.while_compared = [&] {
    CHECK(world.backup.replica().asked() > asked + 10);  // questions about the disk came before
    CHECK_FALSE(world.machine.running());
  };
  const auto sealed = world.gate.sealed();
  const auto verdict = world.verify(Repair::no, 10);
  REQUIRE(verdict);
  CHECK(verdict->epoch > sealed);
  CHECK(world.machine.running());
  CHECK(world.gate.in_order());
}

TEST_CASE("a session that ends in the middle of a comparison ends it with a reason") {
  DiskPair pair{1, 200 * chunk};
  World world{35, {4, 2}, 50, &pair};
  REQUIRE(world.protect());
  const auto asked = world.backup.replica().asked();
  std::optional<Result<VerifyVerdict>> verdict;
  const auto told = [&](Result<VerifyVerdict> said) { verdict = std::move(said); };
  world.primary->verify({Repair::no, [](const std::string&, double) {}, told});
  // This thread asks: no more questions come until it acts again.
  REQUIRE(world.run_until([&] { return world.backup.replica().asked() > asked + 2; }));
  REQUIRE_FALSE(verdict);
  world.backup.end_session();
  REQUIRE(world.run_until([&] { return verdict.has_value(); }));
  REQUIRE_FALSE(*verdict);
  CHECK(verdict->error().kind == ErrorKind::closed);
  CHECK_THAT(verdict->error().message, Catch::Contains("the backup went away"));
  CHECK(world.machine.running());
}

TEST_CASE("one comparison at a time; the end of protection ends it") {
  DiskPair pair{1, 200 * chunk};
  World world{36, {4, 2}, 50, &pair};
  REQUIRE(world.protect());
  std::vector<std::string> said;
  const auto order = [&] {
    return VerifyOrder{Repair::no, [](const std::string&, double) {},
                       [&](const Result<VerifyVerdict>& verdict) {
                         said.push_back(verdict ? "" : verdict.error().message);
                       }};
  };
  world.primary->verify(order());
  world.primary->verify(order());
  REQUIRE(said.size() == 1);
  CHECK_THAT(said[0], Catch::Contains("compared already"));
  REQUIRE(world.primary->end("the test says so"));
  REQUIRE(said.size() == 2);
  CHECK_THAT(said[1], Catch::Contains("the test says so"));
}

TEST_CASE("a backup that does not say of which epoch it speaks is not believed") {
  DiskPair pair{1};
  pair.active->set_mode(DiskMode::logging);
  Verification verification{
      pair.active.get(),
      {Repair::no, [](const std::string&, double) {}, [](const Result<VerifyVerdict>&) {}},
      0,
      TimePoint{}};
  const auto asks = verification.step({TimePoint{}, Epoch{7}, Epoch{6}, {}});
  REQUIRE(asks);
  REQUIRE(asks->what == Verification::Step::What::ask);
  replication::Reply reply;
  *reply.mutable_disk_digest() = answer_of(pair.standby->disk(0), asks->question);
  const auto epoch = GENERATE(as<std::uint64_t>{}, 0, 6, 7);
  reply.mutable_disk_digest()->set_epoch(epoch);
  const auto next = verification.step({TimePoint{}, Epoch{9}, Epoch{8}, reply});
  CHECK(next.has_value() == (epoch == 7));
  if (next) CHECK(next->what == Verification::Step::What::memory);
}

TEST_CASE("a backup that does not answer is not waited for without end") {
  DiskPair pair{1};
  pair.active->set_mode(DiskMode::logging);
  std::vector<double> told;
  Verification verification{
      pair.active.get(),
      {Repair::no, [&](const std::string&, double fraction) { told.push_back(fraction); },
       [](const Result<VerifyVerdict>&) {}},
      0,
      TimePoint{}};
  REQUIRE(verification.step({TimePoint{}, Epoch{7}, Epoch{6}, {}}));
  const auto waits = verification.step({TimePoint{seconds{59}}, Epoch{7}, Epoch{6}, {}});
  REQUIRE(waits);
  CHECK(waits->what == Verification::Step::What::wait);
  CHECK(waits->until == TimePoint{seconds{60}});
  const auto late = verification.step({waits->until, Epoch{7}, Epoch{6}, {}});
  REQUIRE_FALSE(late);
  CHECK(late.error().kind == ErrorKind::timed_out);
}

TEST_CASE("progress is told of what takes over two seconds") {
  DiskPair pair{1, 64 * chunk};
  pair.active->set_mode(DiskMode::logging);
  std::vector<double> told;
  Verification verification{
      pair.active.get(),
      {Repair::no, [&](const std::string&, double fraction) { told.push_back(fraction); },
       [](const Result<VerifyVerdict>&) {}},
      0,
      TimePoint{}};
  auto at = TimePoint{};
  auto step = verification.step({at, Epoch{7}, Epoch{6}, {}});
  for (const auto more : {0, 1999, 1, 499}) {
    REQUIRE(step);
    REQUIRE(step->what == Verification::Step::What::ask);
    replication::Reply reply;
    *reply.mutable_disk_digest() = answer_of(pair.standby->disk(0), step->question);
    reply.mutable_disk_digest()->set_epoch(7);
    at += milliseconds{more};
    step = verification.step({at, Epoch{7}, Epoch{6}, reply});
  }
  CHECK(told == std::vector<double>{0.75});
}

TEST_CASE("a comparison keeps to its rate, and what it sends again counts") {
  DiskPair pair{1, 64 * chunk};
  pair.active->set_mode(DiskMode::logging);
  damage(pair.there, 0, 0);
  DiskVerification verification{*pair.active, Repair::yes, 16 * chunk};
  const auto ask = [&](TimePoint at) {
    const auto next = verification.next(at);
    REQUIRE(next);
    REQUIRE(next->question);
    CHECK(next->question->chunk_size() == 16);
    REQUIRE(verification.take(answer_of(pair.standby->disk(0), *next->question)));
  };
  const auto begin = TimePoint{} + seconds{5};
  ask(begin);
  const auto early = verification.next(begin + milliseconds{999});
  REQUIRE(early);
  CHECK_FALSE(early->question);
  CHECK(early->again == begin + seconds{1});
  ask(begin + seconds{1});
  const auto late = verification.next(begin + seconds{2});
  REQUIRE(late);
  CHECK_FALSE(late->question);
  CHECK(late->again == begin + seconds{2} + milliseconds{62} + std::chrono::microseconds{500});
  CHECK(pair.active->log().bytes() == disk_record_head_bytes);  // zeros
}

TEST_CASE("a chunk that the running epoch has written to is compared again at its end") {
  DiskPair pair{1, 3 * chunk};
  pair.active->set_mode(DiskMode::logging);
  REQUIRE_FALSE(pair.active->disk(0).write(chunk, Bytes(512, std::byte{9})));
  damage(pair.there, 0, 5);
  DiskVerification verification{*pair.active, Repair::no, 0};
  auto next = verification.next(TimePoint{});
  REQUIRE(next);
  REQUIRE(next->question);
  REQUIRE(verification.take(answer_of(pair.standby->disk(0), *next->question)));
  next = verification.next(TimePoint{});
  REQUIRE(next);
  CHECK_FALSE(next->question);  // it waits for a seal
  CHECK(next->again == TimePoint::max());
  const auto written = pair.active->log().cut();
  REQUIRE(written);
  verification.at_seal();
  // What is written after the seal does not count.
  REQUIRE_FALSE(pair.active->disk(0).write(chunk, Bytes(512, std::byte{10})));
  REQUIRE_FALSE(pair.standby->disk(0).write(chunk, (*written)[0].data));
  next = verification.next(TimePoint{});
  REQUIRE(next);
  REQUIRE(next->question);
  CHECK(Offsets{next->question->chunk().begin(), next->question->chunk().end()} == Offsets{1});
  REQUIRE(verification.take(answer_of(pair.standby->disk(0), *next->question)));
  REQUIRE(verification.finished());
  CHECK(verification.verdicts()[0].different == 1);
  CHECK(verification.verdicts()[0].different_at == Offsets{0});
}

TEST_CASE("a backup digests what is committed, whether it is in the image yet or not") {
  const DiskDirectory directory;
  const auto disks = *GuestDisks::open(directory.guest(2));
  const auto replica = *DiskReplica::create(*disks, DiskState{directory.path(), "pg"});
  Bytes expected(small_disk_bytes);
  Random random{1};
  for (std::uint64_t round = 1; round <= 50; ++round) {
    const auto offset = pick(random, small_disk_bytes - 1);
    const auto bytes = std::min<std::size_t>(1 + pick(random, 100'000), small_disk_bytes - offset);
    const auto data = random_bytes(round, bytes);
    auto records = data_record(1, offset, data);
    std::ranges::copy(data, expected.begin() + static_cast<std::ptrdiff_t>(offset));
    const auto other = data_record(0, offset, data);
    records.insert(records.end(), other.begin(), other.end());
    Bytes zeros(disk_record_head_bytes + 1);
    DiskRecord hole{1, DiskContents::zeros, offset, static_cast<std::uint32_t>(bytes / 2 + 1), {}};
    std::ranges::fill(std::span{expected}.subspan(offset, hole.bytes), std::byte{});
    zeros.resize(encode_disk_record(hole, zeros));
    records.insert(records.end(), zeros.begin(), zeros.end());
    replica->commit({std::span{records}}, Epoch{round});

    replication::DiskDigestRequest request;
    request.set_disk(1);
    request.set_chunks(5);
    const auto all = replica->digest_chunks(request);
    REQUIRE(all);
    REQUIRE(all->size() == 5);
    for (std::size_t i = 0; i < 5; ++i) {
      const auto rest = std::span{expected}.subspan(i * chunk);
      CHECK((*all)[i] == content_hash(rest.first(std::min<std::size_t>(chunk, rest.size()))));
    }
    request.add_chunk(2);
    request.add_chunk(4);
    const auto some = replica->digest_chunks(request);
    REQUIRE(some);
    CHECK(*some == std::vector<std::string>{(*all)[2], (*all)[4]});
  }
}

TEST_CASE("digests of chunks that are not there, or out of order, are refused") {
  const DiskDirectory directory;
  const auto disks = *GuestDisks::open(directory.guest(1));
  const auto replica = *DiskReplica::create(*disks, DiskState{directory.path(), "pg"});
  for (const auto& chunks : std::vector<Offsets>{{5}, {3, 2}, {2, 2}, Offsets(300, 0)}) {
    replication::DiskDigestRequest request;
    for (const auto one : chunks) request.add_chunk(one);
    CHECK_FALSE(replica->digest_chunks(request));
  }
}
