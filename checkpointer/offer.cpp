#include "checkpointer/offer.hpp"

#include <fstream>
#include <utility>

#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

replication::Fingerprint to_message(const hypervisor::Fingerprint& fingerprint) {
  replication::Fingerprint message;
  message.set_hypervisor(fingerprint.hypervisor);
  message.set_machine(fingerprint.machine);
  message.set_cpu(fingerprint.cpu);
  message.set_accelerator(fingerprint.accelerator);
  message.set_cpu_features(fingerprint.cpu_features);
  for (const auto& digest : fingerprint.boot_digests) message.add_boot_digest(digest);
  return message;
}

hypervisor::Fingerprint from_message(const replication::Fingerprint& message) {
  return {message.hypervisor(),   message.machine(),
          message.cpu(),          message.accelerator(),
          message.cpu_features(), {message.boot_digest().begin(), message.boot_digest().end()}};
}

std::uint64_t available_bytes() {
  std::ifstream meminfo{"/proc/meminfo"};
  std::string key;
  std::uint64_t kib{};
  while (meminfo >> key >> kib) {
    if (key == "MemAvailable:") return kib << 10U;
    meminfo.ignore(64, '\n');
  }
  return 0;
}

}  // namespace

Result<hypervisor::RamLayout> layout_of(const replication::Offer& offer) {
  std::vector<hypervisor::RamBlock> blocks;
  for (const auto& block : offer.ram_block()) {
    blocks.push_back({block.name(), block.used_bytes(), block.max_bytes()});
  }
  return hypervisor::RamLayout::of(std::move(blocks));
}

replication::Offer make_offer(const hypervisor::QemuMachine& machine, Term term,
                              const std::vector<std::uint64_t>& disk_bytes) {
  replication::Offer offer;
  *offer.mutable_guest() = machine.guest();
  *offer.mutable_fingerprint() = to_message(machine.fingerprint());
  for (const auto& block : machine.layout().blocks()) {
    auto* message = offer.add_ram_block();
    message->set_name(block.name);
    message->set_used_bytes(block.used_bytes);
    message->set_max_bytes(block.max_bytes);
  }
  offer.set_term(term.value());
  for (const auto bytes : disk_bytes) offer.add_disk_bytes(bytes);
  return offer;
}

Result<> check_disks(const replication::Offer& offer, GuestDisks& here) {
  if (std::cmp_not_equal(offer.disk_bytes_size(), here.size())) {
    return fail(ErrorKind::incompatible, "the guest has {} disks there and {} here",
                offer.disk_bytes_size(), here.size());
  }
  std::vector<std::string> found;
  for (std::size_t i = 0; i < here.size(); ++i) {
    const auto theirs = offer.disk_bytes(static_cast<int>(i));
    if (const auto& disk = here.disk(i); disk.bytes() != theirs) {
      found.push_back(fmt::format(
          "disk image {} has {} bytes on the backup and {} on the primary; make it equal: "
          "truncate -s {}",
          here.disk(i).image().path(), disk.bytes(), theirs, theirs));
    }
  }
  if (found.empty()) return {};
  return fail(ErrorKind::incompatible, "{}", fmt::join(found, "\n"));
}

Result<> check_offer(const replication::Offer& offer, const hypervisor::QemuMachine& standby) {
  UNDERSTUDY_TRY(const auto theirs, layout_of(offer));
  auto found = differences(standby.fingerprint(), from_message(offer.fingerprint()));
  for (auto& one : differences(standby.layout(), theirs)) found.push_back(std::move(one));
  if (found.empty()) return {};
  return fail(ErrorKind::incompatible, "{}", fmt::join(found, "\n"));
}

Result<> check_memory(std::uint64_t bytes, std::string_view purpose) {
  const auto available = available_bytes();
  if (available >= bytes) return {};
  return fail(
      ErrorKind::limit,
      "{} needs {} MiB of memory and this host has {} MiB to spare; free some, or use another host",
      purpose, bytes >> 20U, available >> 20U);
}

std::uint64_t memory_for(const replication::Offer& offer) {
  std::uint64_t bytes = limits::precopy_bytes_per_epoch;
  for (const auto& block : offer.ram_block()) {
    // A hostile sum must not wrap round to something small.
    if (__builtin_add_overflow(bytes, block.max_bytes(), &bytes)) return ~std::uint64_t{0};
  }
  return bytes;
}

}  // namespace understudy::checkpointer
