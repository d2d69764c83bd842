// Real sessions over loopback, both ends in this process.
#include <future>
#include <thread>

#include <catch2/catch.hpp>

#include "fakes.hpp"
#include "shared_key.hpp"
#include "tcp_relay.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

using Key = std::shared_ptr<const Credentials>;

/// A backup "b" whose replicas are fakes, one per accepted offer.
struct BackupHost {
  explicit BackupHost(AcceptOffer accept = {}, Key key = {}) {
    auto listening = ReplicationServer::listen(
        {"127.0.0.1", 0}, "c1", "b", accept ? std::move(accept) : AcceptOffer{[this](auto&, auto&) {
          const std::lock_guard lock{mutex};
          replicas.push_back(std::make_shared<FakeReplica>());
          return Result<std::shared_ptr<ReplicaEvents>>{replicas.back()};
        }},
        {tcp_transport(std::move(key))});
    REQUIRE(listening);
    server = std::move(*listening);
  }
  std::shared_ptr<FakeReplica> replica(std::size_t index = 0) {
    const std::lock_guard lock{mutex};
    return replicas.at(index);
  }

  std::mutex mutex;
  std::vector<std::shared_ptr<FakeReplica>> replicas;
  std::unique_ptr<ReplicationServer> server;
};

Result<std::unique_ptr<CheckpointSender>> open_to(const Endpoint& at, FakePrimary& primary,
                                                  Key key = {}, const std::string& from = "a") {
  return CheckpointSender::open({"c1", from, "b", at, tcp_transport(std::move(key))},
                                offer_of("pg"), seconds{10}, primary.events());
}

}  // namespace

TEST_CASE("epochs arrive whole, in order, and are committed") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  CHECK((*sender)->status().link == LinkState::up);
  auto synced = (*sender)->acquire(seconds{1});
  REQUIRE(synced);
  fill(*synced, "synchronised");
  (*sender)->submit(std::move(*synced), FrameType::sync_pages, Epoch{});
  std::vector<std::string> sent;
  for (std::uint64_t epoch = 1; epoch <= 50; ++epoch) {
    sent.push_back(send_epoch(**sender, epoch, epoch % 7, limits::frame_payload_bytes - epoch));
  }
  REQUIRE(primary.wait_committed(50));
  REQUIRE(backup.replica()->wait_epochs(50));
  CHECK(backup.replica()->epochs() == sent);
  CHECK(backup.replica()->in_order());
  CHECK(backup.replica()->synced() == "synchronised");
  CHECK((*sender)->status().sent_bytes > 50 * limits::frame_header_bytes);
  CHECK((*sender)->status().resent_frames == 0);
  const auto status = backup.server->status("pg");
  REQUIRE(status);
  CHECK(status->connected);
  CHECK_FALSE(backup.server->status("other"));
}

TEST_CASE("input arrives with its epoch, and changes nothing of what is held") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  const auto bytes = [](const std::string& text) {
    const auto all = std::as_bytes(std::span{text});
    return std::vector(all.begin(), all.end());
  };
  (*sender)->relay_input(bytes("a request"), Epoch{1});
  send_epoch(**sender, 1, 1, 100);
  (*sender)->relay_input(bytes("another"), Epoch{2});
  const auto inputs = backup.replica()->wait_inputs(2);
  REQUIRE(inputs.size() == 2);
  CHECK(inputs[0] == std::pair{Epoch{1}, std::string{"a request"}});
  CHECK(inputs[1] == std::pair{Epoch{2}, std::string{"another"}});
  CHECK(primary.wait_committed(1));
  CHECK((*sender)->status().resent_frames == 0);
}

TEST_CASE("more frames than the window holds pass through it") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  const auto sent = send_epoch(**sender, 1, 2 * limits::frames_in_flight, 4096);
  REQUIRE(primary.wait_committed(1));
  REQUIRE(backup.replica()->wait_epochs(1));
  CHECK(backup.replica()->epochs().at(0) == sent);
}

TEST_CASE("a request is answered in its place among the epochs") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  send_epoch(**sender, 1, 3);
  Request request;
  request.set_id(77);
  request.mutable_verify();
  auto buffer = (*sender)->acquire(seconds{1});
  REQUIRE(buffer);
  fill(*buffer, request.SerializeAsString());
  (*sender)->submit(std::move(*buffer), FrameType::request, Epoch{1});
  REQUIRE(primary.wait_reply(77));
  CHECK(primary.reply()->verify().epoch() == 1);
}

TEST_CASE("a request that takes for ever does not hold up the end of its session") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  Request request;
  request.set_id(FakeReplica::endless_request);
  auto buffer = (*sender)->acquire(seconds{1});
  REQUIRE(buffer);
  fill(*buffer, request.SerializeAsString());
  (*sender)->submit(std::move(*buffer), FrameType::request, Epoch{});
  REQUIRE(backup.replica()->wait_request());
  backup.server->end_session("pg", "promoted");
  CHECK(backup.replica()->ends() == std::vector<std::string>{"promoted"});
  REQUIRE(primary.wait_lost());
  CHECK(primary.lost()->message.find("promoted") != std::string::npos);
}

TEST_CASE("a primary's goodbye ends the session at once") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  const auto before = now();
  (*sender)->stop("the operator said so");
  CHECK(now() - before < milliseconds{1500});
  REQUIRE(backup.replica()->wait_end());
  CHECK(backup.replica()->ends() ==
        std::vector<std::string>{"the primary ended the session: the operator said so"});
  CHECK_FALSE(primary.lost());
  CHECK((*sender)->acquire(seconds{1}).error().kind == ErrorKind::closed);
}

TEST_CASE("a refusal reaches the primary sentence by sentence") {
  BackupHost backup{[](const Offer& /*offer*/, const std::string& /*from*/) {
    return Result<std::shared_ptr<ReplicaEvents>>{
        fail(ErrorKind::incompatible, "another QEMU\nanother CPU")};
  }};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary);
  REQUIRE_FALSE(sender);
  CHECK(sender.error().kind == ErrorKind::incompatible);
  CHECK(sender.error().message == "another QEMU\nanother CPU");
}

TEST_CASE("a backup of another name or cluster, and one that is not there, are told apart") {
  BackupHost backup;
  FakePrimary primary;
  const auto at = backup.server->endpoint();
  const auto wrong_host =
      CheckpointSender::open({"c1", "a", "x", at}, offer_of("pg"), seconds{5}, primary.events());
  REQUIRE_FALSE(wrong_host);
  CHECK(wrong_host.error().message.find("this is host 'b', not 'x'") != std::string::npos);
  const auto wrong_cluster =
      CheckpointSender::open({"c2", "a", "b", at}, offer_of("pg"), seconds{5}, primary.events());
  REQUIRE_FALSE(wrong_cluster);
  CHECK(wrong_cluster.error().message.find("cluster 'c1', not to 'c2'") != std::string::npos);
  backup.server->stop();
  const auto nobody = open_to(at, primary);
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error().kind == ErrorKind::unavailable);
}

TEST_CASE("an address in use names the remedy") {
  BackupHost backup;
  const auto at = backup.server->endpoint();
  const auto second = ReplicationServer::listen(at, "c1", "b", {});
  REQUIRE_FALSE(second);
  CHECK(second.error().kind == ErrorKind::conflict);
  CHECK(second.error().message ==
        fmt::format("127.0.0.1:{} is in use by another process; stop it or "
                    "change replication_address of host b",
                    at.port));
  const auto foreign = ReplicationServer::listen({"192.0.2.1", 0}, "c1", "b", {});
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().message.find("is no address of this host") != std::string::npos);
}

TEST_CASE("a link that breaks is resumed, again and again, and nothing is lost") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  TcpRelay relay{backup.server->endpoint()};
  const auto sender = open_to(relay.endpoint(), primary, key);
  REQUIRE(sender);
  std::vector<std::string> sent;
  for (std::uint64_t epoch = 1; epoch <= 40; ++epoch) {
    sent.push_back(send_epoch(**sender, epoch, 5, 50'000));
    if (epoch % 10 == 5) {
      const auto cuts = static_cast<int>(epoch / 10) + 1;
      REQUIRE(primary.wait_ups(cuts - 1));
      relay.cut();
      REQUIRE(primary.wait_downs(cuts));
    }
  }
  REQUIRE(primary.wait_committed(40));
  REQUIRE(backup.replica()->wait_epochs(40));
  CHECK(backup.replica()->epochs() == sent);
  CHECK(backup.replica()->ends().empty());
}

TEST_CASE("a peer that hangs is noticed, and stop does not wait for it") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  TcpRelay relay{backup.server->endpoint()};
  const auto sender = open_to(relay.endpoint(), primary, key);
  REQUIRE(sender);
  relay.freeze();
  const auto before = now();
  REQUIRE(primary.wait_downs(1));
  CHECK(now() - before < limits::link_silence * 2);
  CHECK((*sender)->status().link == LinkState::down);
  const auto stopping = now();
  (*sender)->stop("enough");
  CHECK(now() - stopping < milliseconds{1500});
}

TEST_CASE("after end_session nothing is acknowledged and no event is called") {
  const auto key = GENERATE(in_clear(), with_key());
  for (int round = 0; round < 20; ++round) {
    BackupHost backup{{}, key};
    FakePrimary primary;
    const auto sender = open_to(backup.server->endpoint(), primary, key);
    REQUIRE(sender);
    std::thread writing{[&] {
      for (std::uint64_t epoch = 1; epoch <= 2000 && !primary.lost(); ++epoch) {
        send_epoch(**sender, epoch, 2, 5000);
      }
    }};
    const bool committed = primary.wait_committed(static_cast<std::uint64_t>(round));
    backup.server->end_session("pg", "promoted");
    const auto applied = backup.replica()->epochs().size();
    CHECK(committed);
    CHECK(backup.replica()->ends() == std::vector<std::string>{"promoted"});
    CHECK_FALSE(backup.server->status("pg"));
    REQUIRE(primary.wait_lost());
    writing.join();
    CHECK(primary.committed().value() <= applied);
    CHECK(backup.replica()->epochs().size() == applied);
    CHECK(primary.lost()->message.find("promoted") != std::string::npos);
    backup.server->end_session("pg", "again");
  }
}

TEST_CASE("a second offer replaces the session of the same host, never that of another") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary first;
  const auto sender = open_to(backup.server->endpoint(), first, key);
  REQUIRE(sender);
  send_epoch(**sender, 1, 3);
  REQUIRE(first.wait_committed(1));

  FakePrimary stranger;
  const auto refused = open_to(backup.server->endpoint(), stranger, key, "z");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("for host a already") != std::string::npos);
  send_epoch(**sender, 2, 3);
  REQUIRE(first.wait_committed(2));

  FakePrimary second;
  const auto successor = open_to(backup.server->endpoint(), second, key);
  REQUIRE(successor);
  REQUIRE(first.wait_lost());
  REQUIRE(backup.replica(0)->wait_end());
  send_epoch(**successor, 1, 3);
  REQUIRE(second.wait_committed(1));
  CHECK(backup.replica(0)->epochs().size() == 2);
}

TEST_CASE("a backup that restarts has forgotten the session, and the primary learns it") {
  const auto key = GENERATE(in_clear(), with_key());
  auto backup = std::make_unique<BackupHost>(AcceptOffer{}, key);
  FakePrimary primary;
  const auto at = backup->server->endpoint();
  TcpRelay relay{at};
  const auto sender = open_to(relay.endpoint(), primary, key);
  REQUIRE(sender);
  relay.cut();
  REQUIRE(primary.wait_downs(1));
  BackupHost restarted{{}, key};
  relay.retarget(restarted.server->endpoint());
  REQUIRE(primary.wait_lost());
  CHECK(primary.lost()->message.find("holds no such session") != std::string::npos);
}

TEST_CASE("an offer that is being decided does not hold up the end of its session") {
  const auto key = GENERATE(in_clear(), with_key());
  std::promise<void> asked;
  std::promise<void> answer;
  auto replica = std::make_shared<FakeReplica>();
  BackupHost backup{[&](const Offer& /*offer*/, const std::string& /*from*/) {
                      asked.set_value();
                      answer.get_future().wait();
                      return Result<std::shared_ptr<ReplicaEvents>>{replica};
                    },
                    key};
  FakePrimary primary;
  auto opening = std::async(std::launch::async,
                            [&] { return open_to(backup.server->endpoint(), primary, key); });
  asked.get_future().wait();
  backup.server->end_session("pg", "changed our mind");
  CHECK_FALSE(backup.server->status("pg"));
  answer.set_value();
  const auto sender = opening.get();
  REQUIRE_FALSE(sender);
  CHECK(sender.error().message == "changed our mind");
  CHECK(replica->ends() == std::vector<std::string>{"changed our mind"});
}

TEST_CASE("records that the replica refuses end the session with its sentence") {
  const auto key = GENERATE(in_clear(), with_key());
  BackupHost backup{{}, key};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, key);
  REQUIRE(sender);
  send_epoch(**sender, 1, 2);
  auto buffer = (*sender)->acquire(seconds{1});
  REQUIRE(buffer);
  fill(*buffer, "bad things");
  (*sender)->submit(std::move(*buffer), FrameType::pages, Epoch{2});
  REQUIRE(primary.wait_lost());
  CHECK(primary.lost()->message.find("a bad record") != std::string::npos);
  CHECK(primary.committed() == Epoch{1});
  CHECK(backup.replica()->epochs().size() == 1);
}

TEST_CASE("a key on one side only, or another, is refused with a sentence on both") {
  const auto [ours, theirs, at_primary] = GENERATE(table<Key, Key, std::string>(
      {{in_clear(), with_key(), "the peer asks for a key, and this host has none"},
       {with_key(), in_clear(), "the peer speaks in clear text, and this host asks for a key"},
       {key_of('x'), with_key(), "it refuses our key"}}));
  BackupHost backup{{}, theirs};
  FakePrimary primary;
  const auto sender = open_to(backup.server->endpoint(), primary, ours);
  REQUIRE_FALSE(sender);
  CHECK(sender.error().message.find(at_primary) != std::string::npos);
  CHECK(sender.error().message.find("give both hosts the same") != std::string::npos);
}

TEST_CASE("what leaves cannot be read on the wire, and what is changed there is noticed") {
  BackupHost backup{{}, with_key()};
  FakePrimary primary;
  TcpRelay relay{backup.server->endpoint()};
  relay.look_for("synchronised");
  const auto sender = open_to(relay.endpoint(), primary, with_key());
  REQUIRE(sender);
  auto synced = (*sender)->acquire(seconds{1});
  REQUIRE(synced);
  fill(*synced, "synchronised");
  (*sender)->submit(std::move(*synced), FrameType::sync_pages, Epoch{});
  std::vector<std::string> sent;
  for (std::uint64_t epoch = 1; epoch <= 20; ++epoch) {
    if (epoch % 5 == 0) relay.flip_a_bit();
    sent.push_back(send_epoch(**sender, epoch, 3, 5000));
    REQUIRE(primary.wait_committed(epoch));
  }
  REQUIRE(primary.wait_downs(3));
  REQUIRE(backup.replica()->wait_epochs(20));
  CHECK(backup.replica()->epochs() == sent);
  CHECK(backup.replica()->ends().empty());
  CHECK_FALSE(relay.found());
}
