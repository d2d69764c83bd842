#include "checkpointer/nbd_protocol.hpp"

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "memory.hpp"

using namespace understudy;
using namespace understudy::checkpointer;
using nbd::Negotiation;

namespace {

using Bytes = std::vector<std::byte>;

template <class T>
void add(Bytes& bytes, T value) {
  for (std::size_t i = sizeof value; i-- > 0;)
    bytes.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
}

std::uint64_t number(const Bytes& bytes, std::size_t at, std::size_t size) {
  std::uint64_t value{};
  for (std::size_t i = 0; i < size; ++i)
    value = value << 8U | std::to_integer<std::uint64_t>(bytes.at(at + i));
  return value;
}

Negotiation begun() {
  Negotiation negotiation{{{"disk0", 1U << 30U}, {"disk1", 4096}}};
  Bytes flags;
  add(flags, std::uint32_t{3});
  CHECK(negotiation.take(flags).next == Negotiation::Next::more);
  return negotiation;
}

Negotiation::Step say(Negotiation& negotiation, std::uint32_t option, const Bytes& data) {
  Bytes head;
  add(head, std::uint64_t{0x49484156454F5054});
  add(head, option);
  add(head, static_cast<std::uint32_t>(data.size()));
  REQUIRE(negotiation.wanted() == head.size());
  const auto step = negotiation.take(head);
  if (data.empty() || step.next == Negotiation::Next::close) return step;
  REQUIRE(negotiation.wanted() == data.size());
  return negotiation.take(data);
}

Bytes info_of(const std::string& name) {
  Bytes data;
  add(data, static_cast<std::uint32_t>(name.size()));
  for (const char c : name) data.push_back(static_cast<std::byte>(c));
  add(data, std::uint16_t{0});
  return data;
}

constexpr std::uint32_t option_list = 3;
constexpr std::uint32_t option_go = 7;

}  // namespace

TEST_CASE("a client is told size, flags and block sizes, and is served") {
  auto negotiation = begun();
  const auto step = say(negotiation, option_go, info_of("disk1"));
  CHECK(step.next == Negotiation::Next::serve);
  CHECK(negotiation.chosen() == 1);
  // The first reply: magic, option, type, length, then kind, size, flags.
  CHECK(number(step.reply, 0, 8) == 0x3e889045565a9);
  CHECK(number(step.reply, 12, 4) == 3);
  CHECK(number(step.reply, 22, 8) == 4096);
  CHECK(number(step.reply, 30, 2) == nbd::transmission_flags);
}

TEST_CASE("an empty name is the first export; an unknown one is refused and may be corrected") {
  auto negotiation = begun();
  const auto unknown = say(negotiation, option_go, info_of("nothing"));
  CHECK(unknown.next == Negotiation::Next::more);
  CHECK(number(unknown.reply, 12, 4) == 0x80000006);
  CHECK(say(negotiation, option_go, info_of("")).next == Negotiation::Next::serve);
  CHECK(negotiation.chosen() == 0);
}

TEST_CASE("every export is listed") {
  auto negotiation = begun();
  const auto step = say(negotiation, option_list, {});
  CHECK(step.reply.size() == 3 * 20 + 2 * (4 + 5));
}

TEST_CASE("options that nobody needs are refused, not fatal") {
  auto negotiation = begun();
  const auto tls = say(negotiation, 5, {});
  CHECK(tls.next == Negotiation::Next::more);
  CHECK(number(tls.reply, 12, 4) == 0x80000001);
  const auto malformed = say(negotiation, option_go, Bytes(5));
  CHECK(number(malformed.reply, 12, 4) == 0x80000003);
  auto lying = info_of("disk0");
  lying[3] = std::byte{200};
  CHECK(number(say(negotiation, option_go, lying).reply, 12, 4) == 0x80000003);
}

TEST_CASE("a client that talks for ever, or of too much, is closed") {
  auto negotiation = begun();
  Negotiation::Step step;
  for (std::size_t i = 0; i <= limits::nbd_options; ++i) step = say(negotiation, 99, {});
  CHECK(step.next == Negotiation::Next::close);
  auto other = begun();
  Bytes head;
  add(head, std::uint64_t{0x49484156454F5054});
  add(head, option_go);
  add(head, std::uint32_t{0xffffffff});
  CHECK(other.take(head).next == Negotiation::Next::close);
}

TEST_CASE("whatever a client says, the negotiation ends or wants a bounded number of bytes") {
  Random random{11};
  for (int round = 0; round < 3000; ++round) {
    auto negotiation = begun();
    for (int turn = 0; turn < 200; ++turn) {
      const auto wanted = negotiation.wanted();
      REQUIRE(wanted > 0);
      REQUIRE(wanted <= limits::nbd_option_bytes);
      auto bytes = random_bytes(random(), wanted);
      if (wanted == 16 && pick(random, 4) != 0) {
        bytes.clear();
        add(bytes, std::uint64_t{0x49484156454F5054});
        add(bytes, static_cast<std::uint32_t>(pick(random, 11)));
        add(bytes, static_cast<std::uint32_t>(pick(random, 40)));
      }
      if (negotiation.take(bytes).next != Negotiation::Next::more) break;
    }
  }
}

TEST_CASE("requests beyond the device, of nothing, too large or with unknown flags are refused") {
  using nbd::Command;
  const auto check = [](Command command, std::uint64_t offset, std::uint32_t bytes,
                        std::uint16_t flags = 0) {
    return nbd::check_request({flags, command, 1, offset, bytes}, 8192);
  };
  CHECK_FALSE(check(Command::read, 4096, 4096));
  CHECK_FALSE(check(Command::write, 0, 8192, nbd::flag_fua));
  CHECK_FALSE(check(Command::write_zeroes, 0, 8192, nbd::flag_no_hole));
  CHECK_FALSE(check(Command::flush, 0, 0));
  CHECK(check(Command::read, 4097, 4096) == std::errc::invalid_argument);
  CHECK(check(Command::write, 4097, 4096) == std::errc::no_space_on_device);
  CHECK(check(Command::write_zeroes, ~0ULL, 2) == std::errc::no_space_on_device);
  CHECK(check(Command::read, 0, 0) == std::errc::invalid_argument);
  CHECK(check(Command::trim, 0, 512, 16) == std::errc::invalid_argument);
  CHECK(check(static_cast<Command>(7), 0, 512) == std::errc::invalid_argument);
  CHECK(nbd::check_request({0, Command::read, 1, 0, limits::nbd_request_bytes + 1}, 1U << 30U));
}

TEST_CASE("errors travel as the protocol's own numbers") {
  const auto code = [](std::errc error) {
    const auto reply = nbd::encode_reply(7, std::make_error_code(error));
    return std::to_integer<int>(reply[7]);
  };
  CHECK(code(std::errc::no_space_on_device) == 28);
  CHECK(code(std::errc::invalid_argument) == 22);
  CHECK(code(std::errc::io_error) == 5);
  CHECK(code(std::errc::read_only_file_system) == 5);
}
