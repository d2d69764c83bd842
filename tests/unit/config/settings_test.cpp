#include "config/settings.hpp"

#include <fstream>

#include <catch2/catch.hpp>

#include "config/names.hpp"

using namespace understudy;
using Catch::Matchers::Contains;

namespace {

const std::string good = R"(this_host: "a"
cluster: "lab"
host { name: "a" node_id: 1 replication_address: "10.0.0.1:7400" }
host { name: "b" node_id: 2 replication_address: "10.0.0.2:7400" }
host { name: "w" node_id: 3 }
guest {
  name: "pg"
  memory_mib: 512
  boot { kernel: "/k" }
  nic { bridge: "br0" }
}
)";

std::string replaced(const std::string& from, const std::string& to) {
  auto text = good;
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string complaint(const std::string& text) {
  const auto settings = Settings::parse(text, "u.conf");
  REQUIRE_FALSE(settings);
  CHECK(settings.error().kind == ErrorKind::invalid);
  return settings.error().message;
}

}  // namespace

TEST_CASE("a good configuration gets its defaults") {
  const auto settings = Settings::parse(good, "u.conf");
  REQUIRE(settings);
  const auto* guest = settings->find_guest("pg");
  REQUIRE(guest != nullptr);
  CHECK(guest->vcpus() == 1);
  CHECK(guest->machine() == "pc");
  CHECK(guest->nic(0).model() == "virtio-net-pci,disable-modern=on");
  CHECK(guest->nic(0).mac() == derived_mac("pg", 0));
  CHECK(guest->protection().interval_ms() == 25);
  CHECK(guest->protection().epochs_in_flight() >= 2);
  CHECK(settings->majority() == 2);
  CHECK(settings->this_node() == NodeId{1});
  CHECK(settings->find_host(NodeId{3})->name() == "w");
  CHECK(settings->find_guest("nobody") == nullptr);
}

TEST_CASE("errors name file, line, field and what would be right") {
  CHECK_THAT(complaint(replaced("memory_mib: 512", "memory_mib: 8")),
             Contains("u.conf:8: Guest.memory_mib: 8 is out of range; give 32 to"));
  CHECK_THAT(complaint(replaced("memory_mib", "memory_mb")),
             Contains("u.conf:8:") && Contains("memory_mb"));
  CHECK_THAT(
      complaint(replaced("this_host: \"a\"", "this_host: \"x\"")),
      Contains("u.conf:1: Config.this_host: 'x' is none of the hosts; name one of: a, b, w"));
  CHECK_THAT(complaint(replaced("10.0.0.2:7400", "10.0.0.2")),
             Contains("u.conf:4: Host.replication_address") && Contains("10.0.0.1:7400"));
  CHECK_THAT(complaint(replaced("kernel: \"/k\"", "kernel: \"k\"")),
             Contains("u.conf:9: Boot.kernel: 'k' is relative"));
  CHECK_THAT(complaint(replaced("node_id: 2", "node_id: 1")),
             Contains("u.conf:4: Host.node_id: 1 stands twice"));
}

TEST_CASE("DPDK has its defaults, and its errors") {
  const auto settings = Settings::parse(good, "u.conf");
  REQUIRE(settings);
  CHECK(settings->config().dpdk().memory_mib() == 64);
  CHECK(settings->config().dpdk().polling() == config::SLEEP);
  CHECK(settings->find_guest("pg")->nic(0).uplink() == config::TAP);
  CHECK(Settings::parse(replaced("bridge: \"br0\"", "bridge: \"br0\" uplink: DPDK"), "u.conf"));
  CHECK(Settings::parse(replaced("bridge: \"br0\"", "device: \"0000:3b:00.1\" uplink: DPDK"),
                        "u.conf"));
  CHECK_THAT(complaint(replaced("bridge: \"br0\"", "device: \"eth1\"")),
             Contains("u.conf:10: Nic.device") && Contains("uplink: DPDK"));
  CHECK_THAT(
      complaint(replaced("bridge: \"br0\"", "device: \"eth1\" bridge: \"br0\" uplink: DPDK")),
      Contains("u.conf:10: Nic.bridge") && Contains("one of the two"));
  CHECK(Settings::parse(good + "dpdk { replication_device: \"repl0\" polling: POLL core: 0 }",
                        "u.conf"));
  CHECK_THAT(complaint(good + "dpdk { polling: POLL }"), Contains("u.conf:12: Dpdk.core"));
  CHECK_THAT(complaint(good + "dpdk { core: 5000 memory_mib: 1 mtu: 70000 }"),
             Contains("Dpdk.core") && Contains("Dpdk.memory_mib") && Contains("Dpdk.mtu"));
  CHECK_THAT(complaint(good + "dpdk { replication_device: \"a/b\" }"),
             Contains("Dpdk.replication_device: 'a/b' is not a device") && Contains("repl0"));
}

TEST_CASE("a field that is missing is placed where its message begins") {
  CHECK_THAT(complaint(replaced("bridge: \"br0\"", "")), Contains("u.conf:10: Nic.bridge"));
  CHECK_THAT(complaint(replaced("name: \"w\" ", "")), Contains("u.conf:5: Host.name"));
}

TEST_CASE("only virtio NICs can use vhost-user") {
  const auto nic = [](const std::string& fields) {
    return replaced("nic { bridge: \"br0\" }", "nic { bridge: \"br0\" " + fields + " }");
  };
  CHECK(Settings::parse(nic("backend: VHOST_USER"), "u.conf"));
  CHECK(Settings::parse(nic("backend: SOCKET model: \"e1000\""), "u.conf"));
  CHECK_THAT(complaint(nic("backend: VHOST_USER model: \"e1000\"")),
             Contains("u.conf:10: Nic.backend: VHOST_USER is for virtio-net-pci, not for e1000"));
}

TEST_CASE("of a model's options only legacy virtio's is known") {
  const auto nic = [](const std::string& model) {
    return replaced("nic { bridge: \"br0\"", "nic { bridge: \"br0\" model: \"" + model + "\"");
  };
  CHECK(Settings::parse(nic("virtio-net-pci"), "u.conf"));
  CHECK(Settings::parse(nic("virtio-net-pci,disable-modern=on"), "u.conf"));
  for (const auto* model : {"virtio-net-pci,romfile=x", "e1000,disable-modern=on",
                            "virtio-net-pci,x,disable-modern=on", ",disable-modern=on"}) {
    CHECK_THAT(complaint(nic(model)), Contains(std::string{model} + "' is not a QEMU device"));
  }
  const auto disk = [](const std::string& model) {
    return replaced("nic {", "disk { path: \"/d\" model: \"" + model + "\" } nic {");
  };
  CHECK(Settings::parse(disk("virtio-blk-pci,disable-modern=on"), "u.conf"));
  CHECK_THAT(complaint(disk("ide-hd,disable-modern=on")), Contains("is none of virtio-blk-pci"));
}

TEST_CASE("two guests of one name are refused") {
  CHECK_THAT(complaint(good + good.substr(good.find("guest {"))),
             Contains("u.conf:13: Guest.name: guest 'pg' stands twice"));
}

TEST_CASE("a guest's backups are hosts that keep guests, each named once") {
  const auto with = [](const std::string& backups) {
    return replaced("memory_mib: 512", "memory_mib: 512 protection { " + backups + " }");
  };
  const auto settings = Settings::parse(with("backup: [\"b\", \"a\"]"), "u.conf");
  REQUIRE(settings);
  CHECK(settings->find_guest("pg")->protection().automatic());
  CHECK_THAT(complaint(with("backup: \"w\"")),
             Contains("Protection.backup: 'w' is no host with a"));
  CHECK_THAT(complaint(with("backup: [\"b\", \"b\"]")), Contains("'b' stands twice"));
}

TEST_CASE("several errors are told at once") {
  auto text = replaced("memory_mib: 512", "memory_mib: 8 vcpus: 1000");
  CHECK_THAT(complaint(text), Contains("memory_mib") && Contains("vcpus"));
}

TEST_CASE("rubbish instead of a configuration is an error, not a crash") {
  CHECK_THAT(complaint(std::string("\x00\xff\x7f{{{", 6)), Contains("u.conf:1"));
  CHECK_FALSE(Settings::load("/nonexistent/file"));
  CHECK_FALSE(Settings::load("/dev/zero"));
}

TEST_CASE("the example in the tree is valid") {
  CHECK(Settings::load(EXAMPLE_CONF));
}

TEST_CASE("endpoints") {
  CHECK(parse_endpoint("10.0.0.1:7400")->port == 7400);
  for (const auto* bad : {"", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000",
                          "host:1", "10.0.0.1:7x", "::1:7"}) {
    CHECK_FALSE(parse_endpoint(bad));
  }
}

TEST_CASE("an address to look at, and an objective to look for") {
  CHECK_THAT(complaint(good + "http_address: \"localhost:80\""),
             Contains("u.conf:12: Config.http_address"));
  for (const auto* bad : {"100", "-1", "nan"}) {
    CHECK_THAT(complaint(replaced("memory_mib: 512",
                                  "memory_mib: 512 availability_objective: " + std::string{bad})),
               Contains("u.conf:8: Guest.availability_objective"));
  }
}

TEST_CASE("a page has an address; its token and certificate are files; others know where it is") {
  const std::string address = "http_address: \"10.0.0.1:80\" ";
  CHECK(Settings::parse(good + address +
                            "http_token_file: \"/t\" http_tls { certificate_file: \"/c\" "
                            "key_file: \"/k\" }",
                        "u.conf"));
  for (const auto& [text, field] :
       {std::pair<std::string, std::string>{"http_token_file: \"/t\"", "Config.http_token_file"},
        {"http_tls { certificate_file: \"/c\" key_file: \"/k\" }", "Config.http_tls"},
        {address + "http_token_file: \"t\"", "Config.http_token_file"},
        {address + "http_tls { certificate_file: \"/c\" }", "HttpTls.key_file"},
        {address + "http_tls { key_file: \"/k\" }", "HttpTls.certificate_file"},
        {address + "http_tls { certificate_file: \"c\" key_file: \"/k\" }",
         "HttpTls.certificate_file"},
        {"host { name: \"x\" node_id: 9 page_url: \"a.example.org\" }", "Host.page_url"}})
    CHECK_THAT(complaint(good + text), Contains("u.conf:12: " + field));
}

TEST_CASE("a watchdog has a device and a timeout") {
  const std::string device = "watchdog_device: \"/dev/watchdog\" ";
  const auto settings = Settings::parse(good + device, "u.conf");
  REQUIRE(settings);
  CHECK(settings->config().watchdog_timeout_s() == 30);
  CHECK_THAT(complaint(good + "watchdog_device: \"watchdog\""),
             Contains("u.conf:12: Config.watchdog_device"));
  for (const auto* bad : {"9", "601"}) {
    CHECK_THAT(complaint(good + device + "watchdog_timeout_s: " + bad),
               Contains("10 to 600 seconds"));
  }
  CHECK_THAT(complaint(good + "watchdog_timeout_s: 30"), Contains("no watchdog_device"));
}

TEST_CASE("security names a file, or is left out") {
  const auto with = [](const std::string& security) { return good + security; };
  const auto settings = Settings::parse(with("security { psk_file: \"/k\" }"), "u.conf");
  REQUIRE(settings);
  CHECK(settings->config().security().psk_file() == "/k");
  CHECK_FALSE(Settings::parse(good, "u.conf")->config().has_security());
  CHECK_THAT(complaint(with("security {}")),
             Contains("u.conf:12: Security.psk_file: name the file with the key, or leave"));
  CHECK_THAT(complaint(with("security { psk_file: \"k\" }")),
             Contains("u.conf:12: Security.psk_file: 'k' is relative"));
}

TEST_CASE("a hook says what to do, and gets its defaults") {
  const auto settings = Settings::parse(
      good + "hook { exec { command: \"/bin/true\" } on: [HOST_LOST, FAILED_OVER] }", "u.conf");
  REQUIRE(settings);
  CHECK(settings->config().hook(0).timeout_s() == 10);
  CHECK(settings->config().hook(0).retries() == 5);
  for (const auto* bad :
       {"hook {}", "hook { exec {} }", "hook { exec { command: \"true\" } }",
        "hook { webhook { url: \"ftp://h/\" } }", "hook { exec { command: \"/a\" } on: UNKNOWN }",
        "hook { exec { command: \"/a\" } timeout_s: 1000 }"}) {
    CHECK_THAT(complaint(good + bad), Contains("u.conf:12: Hook."));
  }
  CHECK_THAT(complaint(replaced("memory_mib: 512", "memory_mib: 512 drill { schedule: \"x\" }")),
             Contains("u.conf:8: Drill.schedule: 'x' is no calendar expression"));
}

TEST_CASE("web addresses") {
  const auto url = parse_url("https://example.org/a/b?c");
  REQUIRE(url);
  CHECK(url->tls);
  CHECK(url->host == "example.org");
  CHECK(url->port == "443");
  CHECK(url->path == "/a/b?c");
  CHECK(parse_url("http://10.0.0.9:8080")->port == "8080");
  CHECK(parse_url("http://10.0.0.9:8080")->path == "/");
  for (const auto* bad :
       {"", "http://", "http:///x", "http://h:0/", "http://h:70000/", "http://h:x/", "http://h /",
        "http://u@h/", "ws://h/", "http://h/\r\nX: y"}) {
    CHECK_FALSE(parse_url(bad));
  }
}
