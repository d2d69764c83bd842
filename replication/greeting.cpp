#include "replication/greeting.hpp"

#include <sstream>
#include <utility>

#include "config/names.hpp"

namespace understudy::replication {
namespace {

constexpr std::size_t shown_bytes = 80;

/// What a stranger said, fit for a log line and for Protocol Buffers.
std::string shown(const std::string& name) {
  std::string result;
  for (const char c : name.substr(0, shown_bytes)) {
    result += c >= ' ' && c <= '~' ? c : '?';
  }
  return "'" + result + "'";
}

}  // namespace

Hello make_hello(const SenderParties& parties, const Offer* offer) {
  Hello hello;
  hello.set_cluster(parties.cluster);
  hello.set_from_host(parties.from_host);
  hello.set_to_host(parties.to_host);
  hello.set_resume(offer == nullptr);
  if (offer != nullptr) *hello.mutable_offer() = *offer;
  return hello;
}

std::vector<std::string> objections(const Hello& hello, const std::string& cluster,
                                    const std::string& this_host) {
  std::vector<std::string> result;
  if (hello.cluster() != cluster) {
    result.push_back(fmt::format("this host belongs to cluster '{}', not to {}", cluster,
                                 shown(hello.cluster())));
  }
  if (hello.to_host() != this_host) {
    result.push_back(fmt::format(
        "this is host '{}', not {}: correct the replication_address in the primary's configuration",
        this_host, shown(hello.to_host())));
  }
  if (!valid_name(hello.from_host())) {
    result.push_back(fmt::format("{} is no name of a host", shown(hello.from_host())));
  } else if (hello.from_host() == this_host) {
    result.push_back(fmt::format("host '{}' cannot be a backup of itself", this_host));
  }
  if (hello.resume() || hello.link_test()) return result;
  if (!hello.has_offer() || !valid_name(hello.offer().guest().name())) {
    result.emplace_back("the offer names no guest");
  } else if (const auto room = staging_bytes(hello.offer()); !room) {
    result.push_back(room.error().message);
  }
  return result;
}

HelloReply refusal(const std::string& sentences) {
  HelloReply reply;
  std::istringstream lines{sentences};
  for (std::string line; std::getline(lines, line);) reply.add_refusal(line);
  return reply;
}

std::vector<std::uint64_t> block_bytes(const Offer& offer) {
  std::vector<std::uint64_t> result;
  for (const auto& block : offer.ram_block()) result.push_back(block.max_bytes());
  return result;
}

Result<std::size_t> staging_bytes(const Offer& offer) {
  if (std::cmp_greater(offer.ram_block_size(), limits::ram_blocks)) {
    return fail(ErrorKind::limit, "a guest of {} RAM blocks, at most {} are possible",
                offer.ram_block_size(), limits::ram_blocks);
  }
  constexpr std::uint64_t most = std::uint64_t{limits::memory_mib_max} << 20U;
  if (std::cmp_greater(offer.disk_bytes_size(), limits::disks_per_guest)) {
    return fail(ErrorKind::limit, "a guest of {} disks, at most {} are possible",
                offer.disk_bytes_size(), limits::disks_per_guest);
  }
  std::uint64_t total = limits::device_state_bytes + limits::precopy_bytes_per_epoch;
  // An eighth more: records have heads.
  if (offer.disk_bytes_size() > 0)
    total += limits::disk_epoch_bytes_max + limits::disk_epoch_bytes_max / 8;
  for (const auto& block : offer.ram_block()) {
    if (block.max_bytes() > most || block.used_bytes() > block.max_bytes()) {
      return fail(ErrorKind::invalid, "a RAM block of {} bytes that uses {}", block.max_bytes(),
                  block.used_bytes());
    }
    total += block.max_bytes();
  }
  if (total > 2 * most) return fail(ErrorKind::limit, "a guest of {} MiB RAM", total >> 20U);
  // A page travels with 8 bytes that say which it is.
  return total + total / page_bytes * 8 + limits::frame_payload_bytes;
}

}  // namespace understudy::replication
