#include "failover/console/status_view.hpp"

#include <algorithm>
#include <sstream>

#include <catch2/catch.hpp>

#include "failover/console/status_json.hpp"

using namespace understudy;
using namespace understudy::failover;
using namespace understudy::failover::console;

namespace {

const Paint plain{Paint::Mode::plain};

control::Status cluster() {
  control::Status status;
  status.set_host("a");
  status.set_cluster("lab");
  status.set_version("0.1.0");
  auto& quorum = *status.mutable_quorum();
  quorum.set_corosync_connected(true);
  quorum.set_quorate(true);
  quorum.set_ring("1.2f");
  quorum.set_voter(true);
  for (const auto* name : {"a", "b", "w"}) {
    auto& member = *quorum.add_member();
    member.set_name(name);
    member.set_present(true);
    member.set_witness(*name == 'w');
  }
  return status;
}

void set(control::Quantiles& quantiles, double p50, double p99, double max) {
  quantiles.set_count(100);
  quantiles.set_p50(p50);
  quantiles.set_p99(p99);
  quantiles.set_max(max);
}

control::Guest& add_protected(control::Status& status, const std::string& name) {
  auto& guest = *status.add_guest();
  guest.set_name(name);
  guest.set_state(control::PROTECTED);
  guest.set_active_host("a");
  guest.set_backup_host("b");
  guest.set_term(3);
  guest.set_epoch(12345);
  guest.set_commit_age_us(12400);
  guest.set_epochs_per_second_milli(38200);
  set(*guest.mutable_pause_us(), 1210, 4520, 9800);
  set(*guest.mutable_commit_latency_us(), 3400, 8900, 15000);
  set(*guest.mutable_hold_us(), 14000, 31000, 40000);
  guest.set_held_packets(12);
  guest.set_held_bytes(8300);
  guest.set_pages_per_epoch(494.4);
  guest.set_bytes_per_epoch(1'258'291);
  guest.set_link("tcp 10.0.0.2:7400 up encrypted");
  guest.set_accelerator("tcg");
  return guest;
}

void fits_the_screen(const std::string& text) {
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    CHECK(line.size() <= screen_columns);
  }
}

}  // namespace

TEST_CASE("a protected guest on one screen") {
  auto status = cluster();
  add_protected(status, "pg");
  CHECK(status_view(status, plain) ==
        R"(host a   cluster lab   understudyd 0.1.0
quorum  yes   ring 1.2f   members:  a  b  w (witness)

pg           protected     active a   backup b   tcg   term 3
  epoch           12,345, committed 12.4 ms ago, 38.2 per second
  per epoch       494 pages, 1.2 MiB
  pause           p50 1.2 ms   p99 4.5 ms   max 9.8 ms
  commit latency  p50 3.4 ms   p99 8.9 ms   max 15.0 ms
  held output     12 packets, 8.1 KiB; waited p50 14.0 ms, p99 31.0 ms
  link            tcp 10.0.0.2:7400 up encrypted
)");
}

TEST_CASE("output that reached its limit is shown") {
  auto status = cluster();
  auto& guest = add_protected(status, "pg");
  guest.set_hold_limit_bytes(8U << 20U);
  guest.set_hold_full(3);
  guest.set_ingress_cut(1200);
  const auto text = status_view(status, plain);
  CHECK(text.find("held at limit   3 times, of 8.0 MiB; 1,200 packets to the guest cut") !=
        std::string::npos);
  fits_the_screen(text);
}

TEST_CASE("a replica's disk writes that wait are shown") {
  auto status = cluster();
  add_protected(status, "pg").set_disk_waiting_bytes(3U << 20U);
  const auto text = status_view(status, plain);
  CHECK(text.find("disks           3.0 MiB of writes wait to be in the images here") !=
        std::string::npos);
  fits_the_screen(text);
}

TEST_CASE("trouble is named") {
  auto status = cluster();
  auto& quorum = *status.mutable_quorum();
  quorum.set_quorate(false);
  quorum.set_voter(false);
  quorum.mutable_member(1)->set_present(false);
  status.add_warning("the record of roles on b is older than ours");
  auto& guest = *status.add_guest();
  guest.set_name("pg");
  guest.set_state(control::SUSPENDED);
  guest.set_active_host("a");
  guest.set_term(4);
  guest.set_throttled(true);
  guest.set_detail("no quorum: output is closed");
  guest.set_report_age_us(2'500'000);
  auto& outage = *guest.mutable_last_failover();
  outage.set_running_unix_us(1'795'230'667'123'456);
  outage.set_promote_us(12300);
  CHECK(status_view(status, plain) ==
        R"(host a   cluster lab   understudyd 0.1.0
quorum  NO   ring 1.2f   not voting yet   members:  a  b ABSENT  w (witness)
warning: the record of roles on b is older than ours

pg           suspended     active a   backup -   term 4
  no quorum: output is closed
  reported by     a, 2.5 s ago
  throttled       the backup or the link is slower than the guest writes
  last failover   2026-11-21 03:11:07 UTC; decision to running 12.3 ms
)");
}

TEST_CASE("synchronisation shows how far it is") {
  auto status = cluster();
  auto& guest = *status.add_guest();
  guest.set_name("pg");
  guest.set_state(control::SYNCHRONISING);
  guest.set_active_host("a");
  guest.set_backup_host("b");
  guest.set_sync_fraction(0.426);
  const auto text = status_view(status, plain);
  CHECK(text.find("pg           synchronising active a   backup b   term 0\n"
                  "  synchronised    43 %\n") != std::string::npos);
}

TEST_CASE("an empty status says what is missing") {
  CHECK(status_view({}, plain) ==
        "host    cluster    understudyd \n"
        "quorum  NO (corosync is not reachable)   not voting yet   members:\n"
        "\n"
        "no guests are configured\n");
}

TEST_CASE("two guests fit 24 lines, and no name is too long for 80 columns") {
  auto status = cluster();
  add_protected(status, "pg");
  add_protected(status, "mail");
  const auto text = status_view(status, plain);
  CHECK(std::count(text.begin(), text.end(), '\n') <= 24);
  const std::string longest(63, 'n');
  status.set_host(longest);
  status.set_cluster(longest);
  for (auto& member : *status.mutable_quorum()->mutable_member()) member.set_name(longest);
  auto& guest = *status.mutable_guest(0);
  guest.set_name(longest);
  guest.set_active_host(longest);
  guest.set_backup_host(longest);
  guest.set_link(std::string(300, 'l'));
  guest.set_detail("because of " + std::string(200, 'd') + " and " + longest + "\x1b[2J");
  status.add_warning(std::string(500, 'w') + " " + longest);
  fits_the_screen(status_view(status, plain));
  CHECK(status_view(status, plain).find('\x1b') == std::string::npos);
}

TEST_CASE("colour changes nothing but colour") {
  auto status = cluster();
  add_protected(status, "pg");
  auto text = status_view(status, Paint{Paint::Mode::colour});
  CHECK(text.find("\x1b[32mprotected") != std::string::npos);
  for (auto at = text.find('\x1b'); at != std::string::npos; at = text.find('\x1b')) {
    text.erase(at, text.find('m', at) - at + 1);
  }
  CHECK(text == status_view(status, plain));
}

TEST_CASE("a verification names the block that differs") {
  control::Verification verification;
  CHECK(outcome(verification) == Outcome::different);
  verification.set_epoch(42);
  auto& ram = *verification.add_block();
  ram.set_name("pc.ram");
  ram.set_bytes(1U << 30U);
  ram.set_identical(true);
  CHECK(outcome(verification) == Outcome::identical);
  CHECK(verification_view(verification, plain) ==
        "  pc.ram                              1.0 GiB  identical\n"
        "epoch 42: the replica is identical\n");
  auto& vga = *verification.add_block();
  vga.set_name("vga.vram");
  CHECK(outcome(verification) == Outcome::different);
  CHECK(verification_view(verification, plain).find("epoch 42: the replica DIFFERS") !=
        std::string::npos);
}

TEST_CASE("a verification says where a disk differs, and what of it is repaired") {
  control::Verification verification;
  verification.set_epoch(42);
  auto& disk = *verification.add_block();
  disk.set_name("/images/pg.img");
  disk.set_bytes(1U << 30U);
  disk.set_chunks_different(1);
  disk.add_different_at(65536);
  CHECK(outcome(verification) == Outcome::different);
  CHECK(verification_view(verification, plain) ==
        "  /images/pg.img                      1.0 GiB  DIFFERS\n"
        "    1 of its chunks of 64 KiB differs, at byte 65536\n"
        "epoch 42: the replica DIFFERS\n");
  disk.set_chunks_different(1000);
  disk.set_chunks_repaired(999);
  CHECK(outcome(verification) == Outcome::different);
  disk.set_chunks_repaired(1000);
  CHECK(outcome(verification) == Outcome::repaired);
  CHECK(verification_view(verification, plain) ==
        "  /images/pg.img                      1.0 GiB  REPAIRED\n"
        "    1,000 of its chunks of 64 KiB differ, at byte 65536 ...; 1,000 sent again\n"
        "    and committed\n"
        "epoch 42: the replica differed, and is repaired\n");
  verification.add_block()->set_name("pc.ram");
  CHECK(outcome(verification) == Outcome::different);
}

TEST_CASE("JSON has every field by its name in the schema") {
  auto status = cluster();
  add_protected(status, "pg").set_held_packets(0);
  const auto text = json_text(status, JsonLayout::line);
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  CHECK(text.find(R"("held_packets":"0")") != std::string::npos);
  CHECK(text.find(R"("state":"PROTECTED")") != std::string::npos);
  CHECK(text.find(R"("corosync_connected":true)") != std::string::npos);
  CHECK(json_text(status, JsonLayout::pretty).find("\n \"host\": \"a\"") != std::string::npos);
}
