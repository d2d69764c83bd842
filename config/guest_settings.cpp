#include "config/guest_settings.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>

#include "config/dpdk_spec.hpp"
#include "config/limits.hpp"
#include "config/names.hpp"
#include "config/schedule.hpp"

namespace understudy {
namespace {

/// QEMU saves 1024 modern queues for each virtio device, most of them unused, in every epoch: half
/// of its work for a checkpoint. A legacy device has none; drivers know both.
constexpr std::string_view legacy_virtio = ",disable-modern=on";

std::string legacy(std::string_view device) {
  return fmt::format("{}{}", device, legacy_virtio);
}

std::string_view device_of(std::string_view model) {
  const bool is_legacy = model.starts_with("virtio-") && model.ends_with(legacy_virtio);
  return is_legacy ? model.substr(0, model.size() - legacy_virtio.size()) : model;
}

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
  if (value.model().empty()) value.set_model(legacy("virtio-net-pci"));
  const auto device = device_of(value.model());
  if (!valid_name(device)) {
    nic.complain("model", fmt::format("'{}' is not a QEMU device; try virtio-net-pci, e1000 or "
                                      "rtl8139",
                                      value.model()));
  }
  if (value.mac().empty()) value.set_mac(derived_mac(guest, number));
  if (!valid_mac(value.mac())) {
    nic.complain("mac", fmt::format("'{}' is not a station's address; write it like {}",
                                    value.mac(), derived_mac(guest, number)));
  }
  if (value.backend() == config::VHOST_USER && !device.starts_with("virtio-net-pci")) {
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
  if (value.model().empty()) value.set_model(legacy(models[0]));
  if (std::ranges::find(models, device_of(value.model())) == models.end()) {
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

void examine_history(const Examined<config::History>& history) {
  auto& value = history.value;
  if (value.depth_s() == 0) value.set_depth_s(86'400);
  if (value.max_mib() == 0) value.set_max_mib(1024);
  history.number("depth_s", value.depth_s(), 1, limits::history_depth_s_max);
  history.number("max_mib", value.max_mib(), 16, limits::history_mib_max);
  history.absolute_path("directory", value.directory());
}

}  // namespace

void examine_drill(const Examined<config::Drill>& drill) {
  auto& value = drill.value;
  if (value.max_commit_ms() == 0) value.set_max_commit_ms(100);
  drill.number("max_commit_ms", value.max_commit_ms(), 1, limits::drill_commit_ms_max);
  for (const auto& [field, text] :
       {std::pair{"schedule", &value.schedule()}, {"real_schedule", &value.real_schedule()}}) {
    if (text->empty()) continue;
    if (auto schedule = Schedule::parse(*text); !schedule)
      drill.complain(field, schedule.error().message);
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

}  // namespace understudy
