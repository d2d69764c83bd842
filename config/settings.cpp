#include "config/settings.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <set>
#include <string_view>
#include <utility>

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <xxhash.h>

#include "config/dpdk_spec.hpp"
#include "config/limits.hpp"
#include "config/schedule.hpp"

namespace understudy {
namespace {

using google::protobuf::TextFormat;

constexpr std::size_t errors_shown = 20;

/// Collects complaints with the line on which the field stands.
class Complaints : public google::protobuf::io::ErrorCollector {
 public:
  explicit Complaints(std::string_view origin) : origin_{origin} {}

  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& text) override {
    add(fmt::format("{}:{}:{}: {}", origin_, line + 1, column + 1, text));
  }

  void at(int line, const google::protobuf::FieldDescriptor& field, const std::string& text) {
    constexpr std::string_view prefix = "understudy.config.";
    const auto place = line < 0 ? std::string{origin_} : fmt::format("{}:{}", origin_, line + 1);
    add(fmt::format("{}: {}: {}", place, field.full_name().substr(prefix.size()), text));
  }

  [[nodiscard]] Result<> result() const {
    if (text_.empty()) return {};
    return fail(ErrorKind::invalid, "{}", text_);
  }

 private:
  void add(const std::string& line) {
    if (++count_ > errors_shown) return;
    if (!text_.empty()) text_ += '\n';
    text_ += line;
  }

  std::string_view origin_;
  std::string text_;
  std::size_t count_{0};
};

/// One message under examination: the value, its place in the file, and where to complain.
template <class T>
struct Examined {
  T& value;
  const TextFormat::ParseInfoTree* place;  ///< of its fields; null where the message is not given
  int line;                                ///< of the message, from 0; -1 for the file as a whole
  Complaints& complaints;

  /// A field that is not given is placed where its message begins.
  void complain(const char* name, const std::string& text, int index = -1) const {
    const auto& field = *descriptor(name);
    complaints.at(line_of(field, index), field, text);
  }
  void number(const char* field, std::uint64_t given, std::uint64_t low, std::uint64_t high) const {
    if (given < low || given > high) {
      complain(field, fmt::format("{} is out of range; give {} to {}", given, low, high));
    }
  }
  void name(const char* field, const std::string& given) const {
    if (!valid_name(given)) {
      complain(field, fmt::format("'{}' is not a name; use 1 to {} letters, digits, '-', '_', '.'",
                                  given, limits::name_length));
    }
  }
  void absolute_path(const char* field, const std::string& given) const {
    if (!given.empty() && given.front() != '/') {
      complain(field, fmt::format("'{}' is relative; give the whole path, from /", given));
    }
  }
  template <class U>
  [[nodiscard]] Examined<U> nested(U& inner, const char* name, int index = -1) const {
    const auto* field = descriptor(name);
    return {inner, place == nullptr ? nullptr : place->GetTreeForNested(field, index),
            line_of(*field, index), complaints};
  }

 private:
  [[nodiscard]] const google::protobuf::FieldDescriptor* descriptor(const char* name) const {
    return value.GetDescriptor()->FindFieldByName(name);
  }
  [[nodiscard]] int line_of(const google::protobuf::FieldDescriptor& field, int index) const {
    const int own = place == nullptr ? -1 : place->GetLocation(&field, index).line;
    return own < 0 ? line : own;
  }
};

bool valid_mac(const std::string& mac) {
  if (mac.size() != 17) return false;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const bool hex = std::isxdigit(static_cast<unsigned char>(mac[i])) != 0;
    if (i % 3 == 2 ? mac[i] != ':' : !hex) return false;
  }
  return (std::stoi(mac.substr(0, 2), nullptr, 16) & 1) == 0;  // the group bit: not a station
}

void examine_nic_device(const Examined<config::Nic>& nic) {
  if (const auto device = dpdk::parse_device(nic.value.device()); !device) {
    nic.complain("device", device.error().message);
  }
  if (nic.value.uplink() != config::DPDK) {
    nic.complain("device", "a device of its own needs uplink: DPDK");
  }
  if (!nic.value.bridge().empty()) {
    nic.complain("bridge", "a device of its own is not on a bridge; give one of the two");
  }
}

void examine_nic(const Examined<config::Nic>& nic, const std::string& guest, std::size_t number) {
  auto& value = nic.value;
  if (value.model().empty()) value.set_model("virtio-net-pci");
  if (!valid_name(value.model())) {
    nic.complain("model", fmt::format("'{}' is not a QEMU device; try virtio-net-pci, e1000 or "
                                      "rtl8139",
                                      value.model()));
  }
  if (value.mac().empty()) value.set_mac(derived_mac(guest, number));
  if (!valid_mac(value.mac())) {
    nic.complain("mac", fmt::format("'{}' is not a station's address; write it like {}",
                                    value.mac(), derived_mac(guest, number)));
  }
  if (value.backend() == config::VHOST_USER && !value.model().starts_with("virtio-net-pci")) {
    nic.complain("backend", fmt::format("VHOST_USER is for virtio-net-pci, not for {}; change the "
                                        "model, or leave the backend out",
                                        value.model()));
  }
  if (!value.device().empty()) return examine_nic_device(nic);
  if (value.bridge().empty() || value.bridge().size() >= limits::interface_name_bytes) {
    nic.complain("bridge", "name the host's bridge that carries this network (at most 15 letters)");
  }
}

void examine_disk(const Examined<config::Disk>& disk) {
  static constexpr std::array<std::string_view, 3> models{"virtio-blk-pci", "ide-hd", "scsi-hd"};
  auto& value = disk.value;
  if (value.path().empty()) disk.complain("path", "name the raw image or block device");
  disk.absolute_path("path", value.path());
  if (value.model().empty()) value.set_model(std::string{models[0]});
  if (std::find(models.begin(), models.end(), value.model()) == models.end()) {
    disk.complain("model",
                  fmt::format("'{}' is none of {}", value.model(), fmt::join(models, ", ")));
  }
}

void examine_disks(const Examined<config::Guest>& guest) {
  auto& value = guest.value;
  if (static_cast<std::size_t>(value.disk_size()) > limits::disks_per_guest) {
    guest.complain("disk", fmt::format("more than {} disks", limits::disks_per_guest), 0);
  }
  for (int i = 0; i < value.disk_size(); ++i) {
    examine_disk(guest.nested(*value.mutable_disk(i), "disk", i));
  }
}

void examine_protection(const Examined<config::Protection>& protection) {
  auto& value = protection.value;
  if (value.interval_ms() == 0) value.set_interval_ms(25);
  if (value.min_interval_ms() == 0) value.set_min_interval_ms(std::min(5U, value.interval_ms()));
  if (value.epochs_in_flight() == 0) value.set_epochs_in_flight(3);
  if (value.hold_limit_kib() == 0) value.set_hold_limit_kib(8192);
  if (!value.has_automatic()) value.set_automatic(true);
  protection.number("interval_ms", value.interval_ms(), limits::interval_ms_min,
                    limits::interval_ms_max);
  protection.number("min_interval_ms", value.min_interval_ms(), 1, value.interval_ms());
  protection.number("epochs_in_flight", value.epochs_in_flight(), limits::epochs_in_flight_min,
                    limits::epochs_in_flight_max);
  protection.number("hold_limit_kib", value.hold_limit_kib(), 128, 1U << 20U);
  protection.number("sync_rate_mib", value.sync_rate_mib(), 0, 1U << 20U);
}

void examine_port(const Examined<config::Probe>& probe, std::uint32_t port) {
  if (port == 0 || port > 65'535) {
    const auto* what = probe.value.GetDescriptor()->FindOneofByName("what");
    const auto& kind = *probe.value.GetReflection()->GetOneofFieldDescriptor(probe.value, what);
    probe.complain(kind.name().c_str(), "give a port, 1 to 65535");
  }
}

void examine_what(const Examined<config::Probe>& probe) {
  auto& value = probe.value;
  switch (value.what_case()) {
    case config::Probe::kPing: return;
    case config::Probe::kTcp: return examine_port(probe, value.tcp().port());
    case config::Probe::kHttp: {
      auto& http = *value.mutable_http();
      if (http.port() == 0) http.set_port(80);
      if (http.path().empty()) http.set_path("/");
      if (http.status() == 0) http.set_status(200);
      return examine_port(probe, http.port());
    }
    case config::Probe::kSql: {
      auto& sql = *value.mutable_sql();
      if (sql.port() == 0) sql.set_port(5432);
      if (sql.user().empty()) sql.set_user("postgres");
      if (sql.database().empty()) sql.set_database(sql.user());
      if (sql.query().empty()) sql.set_query("select 1");
      if (sql.psql().empty()) sql.set_psql("psql");
      return examine_port(probe, sql.port());
    }
    case config::Probe::kScript:
      if (value.script().command().empty()) probe.complain("script", "give its command");
      return;
    case config::Probe::WHAT_NOT_SET:
      probe.complain("name", "say what to do: ping, tcp, http, sql or script");
  }
}

void examine_drill(const Examined<config::Drill>& drill) {
  auto& value = drill.value;
  if (value.max_commit_ms() == 0) value.set_max_commit_ms(100);
  drill.number("max_commit_ms", value.max_commit_ms(), 1, limits::drill_commit_ms_max);
  if (!value.schedule().empty()) {
    if (auto schedule = Schedule::parse(value.schedule()); !schedule)
      drill.complain("schedule", schedule.error().message);
  }
  for (const auto port : value.tcp_port()) value.add_probe()->mutable_tcp()->set_port(port);
  value.clear_tcp_port();
  if (static_cast<std::size_t>(value.probe_size()) > limits::drill_probes)
    drill.complain("probe", fmt::format("more than {} probes", limits::drill_probes), 0);
  if (value.probe().empty()) value.add_probe()->mutable_ping();
  for (int i = 0; i < value.probe_size(); ++i) {
    const auto probe = drill.nested(*value.mutable_probe(i), "probe", i);
    if (probe.value.timeout_s() == 0) probe.value.set_timeout_s(30);
    probe.number("timeout_s", probe.value.timeout_s(), 1, limits::probe_timeout_s_max);
    examine_what(probe);
  }
}

void examine_history(const Examined<config::History>& history) {
  auto& value = history.value;
  if (value.depth_s() == 0) value.set_depth_s(86'400);
  if (value.max_mib() == 0) value.set_max_mib(1024);
  history.number("depth_s", value.depth_s(), 1, limits::history_depth_s_max);
  history.number("max_mib", value.max_mib(), 16, limits::history_mib_max);
  history.absolute_path("directory", value.directory());
}

void examine_guest(const Examined<config::Guest>& guest) {
  auto& value = guest.value;
  guest.name("name", value.name());
  if (value.vcpus() == 0) value.set_vcpus(1);
  if (value.machine().empty()) value.set_machine("pc");
  if (value.cpu().empty()) value.set_cpu("max");
  guest.number("memory_mib", value.memory_mib(), limits::memory_mib_min, limits::memory_mib_max);
  guest.number("vcpus", value.vcpus(), 1, limits::vcpus_max);
  for (const auto& [field, text] :
       {std::pair{"machine", &value.machine()}, {"cpu", &value.cpu()}}) {
    if (text->find_first_of(", \t\n") != std::string::npos) {
      guest.complain(field, fmt::format("'{}' must be a single name, without options", *text));
    }
  }
  guest.absolute_path("console_log", value.console_log());
  if (!(value.availability_objective() >= 0 && value.availability_objective() < 100)) {
    guest.complain("availability_objective", "give a percentage below 100, like 99.95");
  }

  if (value.boot().kernel().empty() && value.disk().empty()) {
    guest.complain("boot", "give boot { kernel: \"/path/vmlinuz\" }, or a disk to boot from");
  }
  const auto boot = guest.nested(*value.mutable_boot(), "boot");
  boot.absolute_path("kernel", boot.value.kernel());
  boot.absolute_path("initrd", boot.value.initrd());

  if (static_cast<std::size_t>(value.nic_size()) > limits::nics_per_guest) {
    guest.complain("nic", fmt::format("more than {} network cards", limits::nics_per_guest), 0);
  }
  for (int i = 0; i < value.nic_size(); ++i) {
    examine_nic(guest.nested(*value.mutable_nic(i), "nic", i), value.name(),
                static_cast<std::size_t>(i));
  }
  examine_disks(guest);
  examine_protection(guest.nested(*value.mutable_protection(), "protection"));
  if (value.has_drill()) examine_drill(guest.nested(*value.mutable_drill(), "drill"));
  if (value.has_history()) examine_history(guest.nested(*value.mutable_history(), "history"));
}

void examine_dpdk(const Examined<config::Dpdk>& dpdk) {
  auto& value = dpdk.value;
  if (value.mtu() == 0) value.set_mtu(1500);
  if (value.memory_mib() == 0) value.set_memory_mib(64);
  if (!value.replication_device().empty()) {
    if (const auto device = dpdk::parse_device(value.replication_device()); !device) {
      dpdk.complain("replication_device", device.error().message);
    }
  }
  if (value.polling() == config::POLL && !value.has_core()) {
    dpdk.complain("core", "polling takes a whole processor; give the number of one");
  }
  if (value.has_core()) dpdk.number("core", value.core(), 0, limits::processors - 1);
  dpdk.number("mtu", value.mtu(), 576, limits::mtu_max);
  dpdk.number("memory_mib", value.memory_mib(), limits::dpdk_memory_mib_min,
              limits::dpdk_memory_mib_max);
}

void examine_fencing(const Examined<config::Fencing>& fencing) {
  auto& value = fencing.value;
  if (value.agent().empty()) fencing.complain("agent", "name the fence agent's program");
  fencing.absolute_path("agent", value.agent());
  if (value.action().empty()) value.set_action("off");
  if (value.action() != "off" && value.action() != "reboot") {
    fencing.complain("action", fmt::format("'{}' is neither off nor reboot", value.action()));
  }
  if (value.timeout_s() == 0) value.set_timeout_s(20);
  if (!value.has_retries()) value.set_retries(2);
  fencing.number("timeout_s", value.timeout_s(), 1, limits::fencing_timeout_s_max);
  fencing.number("retries", value.retries(), 0, limits::fencing_retries_max);
  fencing.number("delay_ms", value.delay_ms(), 0, limits::fencing_delay_ms_max);
  if (static_cast<std::size_t>(value.option_size()) > limits::fencing_options) {
    fencing.complain("option", fmt::format("more than {} options", limits::fencing_options), 0);
  }
  for (int i = 0; i < value.option_size(); ++i) {
    const auto& option = value.option(i);
    const auto name = option.substr(0, option.find('='));
    // The value is not repeated here: it may be a password.
    if (name.size() == option.size() || !valid_name(name) ||
        option.find_first_of("\r\n") != std::string::npos) {
      fencing.complain("option", "an option is one line, name=value", i);
    } else if (name == "action" || name == "nodename") {
      fencing.complain("option", fmt::format("{} is given by us; leave it out", name), i);
    }
  }
}

void examine_hook(const Examined<config::Hook>& hook) {
  auto& value = hook.value;
  if (value.timeout_s() == 0) value.set_timeout_s(10);
  if (!value.has_retries()) value.set_retries(5);
  hook.number("timeout_s", value.timeout_s(), 1, limits::hook_timeout_s_max);
  hook.number("retries", value.retries(), 0, limits::hook_retries_max);
  if (value.has_exec()) {
    const auto words = static_cast<std::size_t>(value.exec().command_size());
    if (words == 0 || words > limits::hook_words || value.exec().command(0).front() != '/')
      hook.complain("exec", "give its command: a program's whole path, then its arguments");
  } else if (value.has_webhook()) {
    if (auto url = parse_url(value.webhook().url()); !url)
      hook.complain("webhook", url.error().message);
  } else {
    hook.complain("exec", "say what to do: exec { command } or webhook { url }");
  }
  for (int i = 0; i < value.on_size(); ++i) {
    if (value.on(i) == config::Hook::UNKNOWN) hook.complain("on", "UNKNOWN never happens", i);
  }
}

void examine_hooks(const Examined<config::Config>& config) {
  auto& value = config.value;
  if (static_cast<std::size_t>(value.hook_size()) > limits::hooks)
    config.complain("hook", fmt::format("more than {} hooks", limits::hooks), 0);
  for (int i = 0; i < value.hook_size(); ++i)
    examine_hook(config.nested(*value.mutable_hook(i), "hook", i));
}

void examine_host(const Examined<config::Host>& host) {
  host.name("name", host.value.name());
  if (!host.value.label().empty()) host.name("label", host.value.label());
  if (host.value.node_id() == 0) {
    host.complain("node_id", "give the nodeid of this host in corosync.conf (1 or more)");
  }
  if (!host.value.replication_address().empty()) {
    if (auto endpoint = parse_endpoint(host.value.replication_address()); !endpoint) {
      host.complain("replication_address", endpoint.error().message);
    }
  }
  if (!host.value.page_url().empty()) {
    if (auto url = parse_url(host.value.page_url()); !url)
      host.complain("page_url", url.error().message);
  }
  if (host.value.has_fencing())
    examine_fencing(host.nested(*host.value.mutable_fencing(), "fencing"));
}

void examine_cluster(const Examined<config::Config>& config) {
  auto& value = config.value;
  std::set<std::string> names;
  std::set<std::uint32_t> ids;
  for (int i = 0; i < value.host_size(); ++i) {
    const auto host = config.nested(*value.mutable_host(i), "host", i);
    examine_host(host);
    if (host.value.has_fencing() && value.host_size() != 2) {
      host.complain("fencing",
                    "fencing is for clusters of exactly two hosts; three or more decide by "
                    "majority and need none");
    }
    if (!names.insert(host.value.name()).second) {
      host.complain(
          "name", fmt::format("'{}' stands twice; every host has its own name", host.value.name()));
    }
    if (!ids.insert(host.value.node_id()).second) {
      host.complain("node_id", fmt::format("{} stands twice; every host has its own nodeid",
                                           host.value.node_id()));
    }
  }
  if (value.host_size() == 0 || static_cast<std::size_t>(value.host_size()) > limits::hosts) {
    config.complain("host", fmt::format("list every member of the cluster, 1 to {}", limits::hosts),
                    value.host_size() == 0 ? -1 : 0);
  }
  if (!names.contains(value.this_host())) {
    config.complain("this_host", fmt::format("'{}' is none of the hosts; name one of: {}",
                                             value.this_host(), fmt::join(names, ", ")));
  }
}

void examine_backups(const Examined<config::Guest>& guest, const config::Config& config) {
  const auto protection = guest.nested(*guest.value.mutable_protection(), "protection");
  const auto& backups = protection.value.backup();
  for (int i = 0; i < backups.size(); ++i) {
    const bool keeps_guests =
        std::any_of(config.host().begin(), config.host().end(), [&](const auto& host) {
          return host.name() == backups[i] && !host.replication_address().empty();
        });
    if (!keeps_guests) {
      protection.complain("backup",
                          fmt::format("'{}' is no host with a replication_address", backups[i]), i);
    }
    if (std::count(backups.begin(), backups.end(), backups[i]) > 1) {
      protection.complain("backup", fmt::format("'{}' stands twice", backups[i]), i);
    }
  }
}

void examine_security(const Examined<config::Config>& config) {
  if (!config.value.has_security()) return;
  const auto security = config.nested(*config.value.mutable_security(), "security");
  const auto& file = security.value.psk_file();
  if (file.empty()) {
    // A block that protects nothing would be read as protection.
    security.complain("psk_file", "name the file with the key, or leave security out");
  }
  security.absolute_path("psk_file", file);
}

void examine_http(const Examined<config::Config>& config) {
  auto& value = config.value;
  if (value.http_address().empty()) {
    if (value.has_http_tls()) config.complain("http_tls", "there is no http_address");
    if (!value.http_token_file().empty())
      config.complain("http_token_file", "there is no http_address");
  } else if (auto endpoint = parse_endpoint(value.http_address()); !endpoint) {
    config.complain("http_address", endpoint.error().message);
  }
  config.absolute_path("http_token_file", value.http_token_file());
  if (!value.has_http_tls()) return;
  const auto tls = config.nested(*value.mutable_http_tls(), "http_tls");
  for (const auto& [field, file] : {std::pair{"certificate_file", &tls.value.certificate_file()},
                                    {"key_file", &tls.value.key_file()}}) {
    if (file->empty()) tls.complain(field, "https needs a certificate_file and a key_file");
    tls.absolute_path(field, *file);
  }
}

void examine_watchdog(const Examined<config::Config>& config) {
  auto& value = config.value;
  if (value.watchdog_device().empty()) {
    if (value.watchdog_timeout_s() != 0)
      config.complain("watchdog_timeout_s", "there is no watchdog_device");
    return;
  }
  config.absolute_path("watchdog_device", value.watchdog_device());
  if (value.watchdog_timeout_s() == 0) value.set_watchdog_timeout_s(limits::watchdog_timeout_s);
  if (std::cmp_less(value.watchdog_timeout_s(), limits::watchdog_timeout_s_min) ||
      std::cmp_greater(value.watchdog_timeout_s(), limits::watchdog_timeout_s_max)) {
    config.complain("watchdog_timeout_s",
                    fmt::format("{} to {} seconds are possible", limits::watchdog_timeout_s_min,
                                limits::watchdog_timeout_s_max));
  }
}

void examine(const Examined<config::Config>& config) {
  auto& value = config.value;
  config.name("cluster", value.cluster());
  if (value.control_socket().empty()) value.set_control_socket("/run/understudy/control.sock");
  config.absolute_path("control_socket", value.control_socket());
  if (value.state_dir().empty()) value.set_state_dir("/var/lib/understudy/state");
  config.absolute_path("state_dir", value.state_dir());
  if (value.control_socket().size() > 107) {
    config.complain("control_socket", "a unix socket's path has at most 107 bytes");
  }
  examine_http(config);
  examine_watchdog(config);
  examine_cluster(config);
  examine_hooks(config);
  examine_security(config);
  examine_dpdk(config.nested(*value.mutable_dpdk(), "dpdk"));
  if (value.link() == config::Config::DPDK && value.dpdk().replication_device().empty()) {
    config.complain("link", "DPDK needs dpdk { replication_device }");
  }

  std::set<std::string> guests;
  for (int i = 0; i < value.guest_size(); ++i) {
    const auto guest = config.nested(*value.mutable_guest(i), "guest", i);
    examine_guest(guest);
    examine_backups(guest, value);
    if (!guests.insert(guest.value.name()).second) {
      guest.complain("name", fmt::format("guest '{}' stands twice; every guest has its own name",
                                         guest.value.name()));
    }
  }
  if (static_cast<std::size_t>(value.guest_size()) > limits::guests_per_host) {
    config.complain("guest", fmt::format("more than {} guests", limits::guests_per_host), 0);
  }
}

template <class Message>
Result<Message> parse_text(const std::string& text, std::string_view origin,
                           void (*examine_it)(const Examined<Message>&)) {
  Complaints complaints{origin};
  TextFormat::ParseInfoTree places;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&complaints);
  parser.WriteLocationsTo(&places);
  Message message;
  if (parser.ParseFromString(text, &message)) {
    examine_it(Examined<Message>{message, &places, -1, complaints});
  }
  UNDERSTUDY_CHECK(complaints.result());
  return message;
}

template <class List, class Matches>
auto find_in(const List& list, Matches matches) -> decltype(&*list.begin()) {
  const auto found = std::find_if(list.begin(), list.end(), matches);
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

Result<Settings> Settings::load(const std::filesystem::path& file) {
  std::ifstream stream{file, std::ios::binary};
  if (!stream) return fail_errno(fmt::format("configuration {}", file.string()));
  std::string text(limits::config_file_bytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.size() > limits::config_file_bytes) {
    return fail(ErrorKind::limit, "configuration {}: larger than {} bytes", file.string(),
                limits::config_file_bytes);
  }
  return parse(text, file.string());
}

Result<Settings> Settings::parse(const std::string& text, std::string_view origin) {
  UNDERSTUDY_TRY(auto config, parse_text<config::Config>(text, origin, examine));
  return Settings{std::move(config)};
}

Result<config::Drill> parse_drill(const std::string& text, std::string_view origin) {
  if (text.size() > limits::drill_plan_bytes)
    return fail(ErrorKind::limit, "{}: larger than {} bytes", origin, limits::drill_plan_bytes);
  return parse_text<config::Drill>(text, origin, examine_drill);
}

const config::Host* Settings::find_host(std::string_view name) const {
  return find_in(config_.host(), [&](const auto& host) { return host.name() == name; });
}

const config::Host* Settings::find_host(NodeId id) const {
  return find_in(config_.host(), [&](const auto& host) { return host.node_id() == id.value(); });
}

const config::Guest* Settings::find_guest(std::string_view name) const {
  return find_in(config_.guest(), [&](const auto& guest) { return guest.name() == name; });
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  const auto digits = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  std::uint16_t port{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  Endpoint endpoint{std::string{text.substr(0, colon)}, port};
  in_addr parsed{};
  if (error != std::errc{} || end != digits.data() + digits.size() || port == 0 ||
      ::inet_pton(AF_INET, endpoint.address.c_str(), &parsed) != 1) {
    return fail(ErrorKind::invalid, "'{}' is not IPv4:PORT; write it like 10.0.0.1:7400", text);
  }
  return endpoint;
}

Result<Url> parse_url(std::string_view text) {
  const auto refuse = [&] {
    return fail(ErrorKind::invalid, "'{}' is not http://HOST[:PORT]/PATH, nor https", text);
  };
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (text.size() > limits::url_bytes || !printable) return refuse();
  Url url;
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://")) return refuse();
  auto rest = text.substr(url.tls ? 8 : 7);
  const auto slash = std::min(rest.find('/'), rest.size());
  url.path = slash == rest.size() ? "/" : std::string{rest.substr(slash)};
  auto host = rest.substr(0, slash);
  url.port = url.tls ? "443" : "80";
  if (const auto colon = host.rfind(':'); colon != std::string_view::npos) {
    url.port = host.substr(colon + 1);
    host = host.substr(0, colon);
    std::uint16_t port{};
    const auto* end = url.port.data() + url.port.size();
    if (const auto parsed = std::from_chars(url.port.data(), end, port);
        parsed.ec != std::errc{} || parsed.ptr != end || port == 0)
      return refuse();
  }
  url.host = host;
  if (!valid_name(host)) return refuse();
  return url;
}

bool valid_name(std::string_view name) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= limits::name_length && name.front() != '-' &&
         name.front() != '.' && std::all_of(name.begin(), name.end(), allowed);
}

std::string derived_mac(std::string_view guest, std::size_t nic) {
  const auto hash = XXH3_64bits_withSeed(guest.data(), guest.size(), nic);
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", hash & 0xffU, (hash >> 8U) & 0xffU,
                     (hash >> 16U) & 0xffU);
}

}  // namespace understudy
