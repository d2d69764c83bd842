#include "config/settings.hpp"

#include <algorithm>
#include <fstream>
#include <set>
#include <string_view>
#include <utility>

#include <google/protobuf/text_format.h>

#include "config/dpdk_spec.hpp"
#include "config/examined.hpp"
#include "config/guest_settings.hpp"
#include "config/limits.hpp"
#include "config/names.hpp"

namespace understudy {
namespace {

using google::protobuf::TextFormat;

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
    hook.nested(*value.mutable_webhook(), "webhook")
        .absolute_path("ca_file", value.webhook().ca_file());
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

}  // namespace understudy
