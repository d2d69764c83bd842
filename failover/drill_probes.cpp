#include "failover/drill_probes.hpp"

#include <arpa/inet.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "config/limits.hpp"
#include "config/unique_fd.hpp"
#include "hypervisor/child_process.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr std::size_t http_body_bytes = 64U << 10U;
constexpr auto ping_patience = milliseconds{500};

struct Attempt {
  bool passed{};
  std::string said;
};

/// One attempt under way: where to, until when, and whether at all.
struct Try {
  const ProbeTarget& target;
  TimePoint deadline;
  const GoesOn& goes_on;

  [[nodiscard]] bool lasts() const { return now() < deadline && goes_on(); }
};

template <class Work>
Attempt converse(const Try& attempt, Work work) {
  asio::io_context io{1};
  Attempt result{false, "no answer in time"};
  asio::co_spawn(io, std::move(work), [&](const std::exception_ptr& failed, Attempt outcome) {
    if (!failed) {
      result = std::move(outcome);
      return;
    }
    try {
      std::rethrow_exception(failed);
    } catch (const std::exception& error) {
      result = {false, error.what()};
    }
  });
  while (attempt.lasts() && !io.stopped()) io.run_for(limits::drill_step);
  return result;
}

tcp::endpoint endpoint_of(const Try& attempt, std::uint32_t port) {
  return {asio::ip::make_address(attempt.target.address), static_cast<std::uint16_t>(port)};
}

Attempt try_tcp(const config::TcpProbe& probe, const Try& attempt) {
  return converse(attempt,
                  [where = endpoint_of(attempt, probe.port())]() -> asio::awaitable<Attempt> {
                    tcp::socket socket{co_await asio::this_coro::executor};
                    co_await socket.async_connect(where, asio::use_awaitable);
                    co_return Attempt{true, "connected"};
                  });
}

Attempt judge_http(const config::HttpProbe& probe, unsigned status, const std::string& body) {
  const bool found = body.find(probe.contains()) != std::string::npos;
  const auto said = fmt::format("status {}, {} bytes{}", status, body.size(),
                                found ? "" : ", without the text that was asked for");
  return {status == probe.status() && found, said};
}

Attempt try_http(const config::HttpProbe& probe, const Try& attempt) {
  return converse(attempt,
                  [probe, where = endpoint_of(attempt, probe.port()),
                   host = attempt.target.address]() -> asio::awaitable<Attempt> {
                    boost::beast::tcp_stream stream{co_await asio::this_coro::executor};
                    co_await stream.async_connect(where, asio::use_awaitable);
                    http::request<http::empty_body> request{http::verb::get, probe.path(), 11};
                    request.set(http::field::host, host);
                    request.set(http::field::connection, "close");
                    co_await http::async_write(stream, request, asio::use_awaitable);
                    boost::beast::flat_buffer buffer;
                    http::response_parser<http::string_body> parser;
                    parser.body_limit(boost::none);
                    co_await http::async_read_header(stream, buffer, parser, asio::use_awaitable);
                    while (!parser.is_done() && parser.get().body().size() < http_body_bytes)
                      co_await http::async_read_some(stream, buffer, parser, asio::use_awaitable);
                    co_return judge_http(probe, parser.get().result_int(), parser.get().body());
                  });
}

/// In a process namespace of its own, so that what it starts ends with it.
Attempt try_program(const std::vector<std::string>& command, std::vector<std::string> environment,
                    const Try& attempt) {
  hypervisor::Launch launch{{"unshare", "--pid", "--fork", "--kill-child", "--"},
                            std::move(environment),
                            {},
                            hypervisor::Output::with_errors};
  launch.command.insert(launch.command.end(), command.begin(), command.end());
  auto child = hypervisor::ChildProcess::start(launch);
  if (!child) return {false, child.error().message};
  std::string said;
  const auto listen = [&] {
    said += child->complaints();
    said.resize(std::min(said.size(), http_body_bytes));
  };
  while (attempt.lasts() && !child->wait(limits::drill_step)) listen();
  const bool ended = child->ended();
  listen();
  if (!ended) return {false, said + (said.empty() ? "" : "\n") + "did not end in time"};
  return {child->exit_status() == 0, said};
}

Attempt try_sql(const config::SqlProbe& probe, const Try& attempt) {
  std::vector<std::string> environment{"PGCONNECT_TIMEOUT=5"};
  if (!probe.password_file().empty()) environment.push_back("PGPASSFILE=" + probe.password_file());
  auto result = try_program({probe.psql(), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-h",
                             attempt.target.address, "-p", std::to_string(probe.port()), "-U",
                             probe.user(), "-d", probe.database(), "-c", probe.query()},
                            std::move(environment), attempt);
  if (!probe.expect().empty() && result.said != probe.expect()) result.passed = false;
  return result;
}

Attempt try_script(const config::ScriptProbe& probe, const Try& attempt) {
  return try_program({probe.command().begin(), probe.command().end()},
                     {"GUEST=" + attempt.target.guest, "GUEST_ADDRESS=" + attempt.target.address,
                      fmt::format("DRILL_EPOCH={}", attempt.target.epoch)},
                     attempt);
}

/// Whether the calling thread's kernel has resolved the address.
bool answers_arp(const std::string& address) {
  std::ifstream table{"/proc/thread-self/net/arp"};
  std::string line;
  while (std::getline(table, line)) {
    std::array<char, INET_ADDRSTRLEN> ip{};
    unsigned type{};
    unsigned flags{};
    // NOLINTNEXTLINE(cert-err34-c): the kernel's own table; the count says whether it was read
    const int read = std::sscanf(line.c_str(), "%15s %x %x", ip.data(), &type, &flags);
    constexpr unsigned complete = 0x2;
    if (read == 3 && ip.data() == address && (flags & complete) != 0) return true;
  }
  return false;
}

bool echoes(const std::string& address, const Try& attempt) {
  const UniqueFd socket{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP)};
  sockaddr_in where{};
  where.sin_family = AF_INET;
  ::inet_pton(AF_INET, address.c_str(), &where.sin_addr);
  // SAFETY: the sockets API takes every address as a sockaddr.
  if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
    return false;
  icmphdr request{};
  request.type = ICMP_ECHO;
  request.checksum = htons(static_cast<std::uint16_t>(~(ICMP_ECHO << 8U)));
  if (::send(socket.get(), &request, sizeof request, 0) < 0) return false;
  const auto until = std::min(now() + ping_patience, attempt.deadline);
  pollfd waiting{socket.get(), POLLIN, 0};
  while (now() < until && attempt.goes_on()) {
    if (::poll(&waiting, 1, static_cast<int>(limits::drill_step.count())) <= 0) continue;
    std::array<std::byte, 256> packet{};
    constexpr ssize_t ip_header = 20;
    if (::recv(socket.get(), packet.data(), packet.size(), 0) > ip_header &&
        packet[ip_header] == std::byte{ICMP_ECHOREPLY})
      return true;
  }
  return false;
}

Attempt try_ping(const Try& attempt) {
  if (echoes(attempt.target.address, attempt)) return {true, "answered ICMP"};
  if (answers_arp(attempt.target.address)) return {true, "answered ARP"};
  return {false, "no answer to ICMP or ARP"};
}

Attempt attempt_once(const config::Probe& probe, const Try& attempt) {
  switch (probe.what_case()) {
    case config::Probe::kTcp: return try_tcp(probe.tcp(), attempt);
    case config::Probe::kHttp: return try_http(probe.http(), attempt);
    case config::Probe::kSql: return try_sql(probe.sql(), attempt);
    case config::Probe::kScript: return try_script(probe.script(), attempt);
    default: return try_ping(attempt);
  }
}

std::string kind_of(const config::Probe& probe) {
  const auto* what = config::Probe::descriptor()->FindOneofByName("what");
  const auto* kind = config::Probe::GetReflection()->GetOneofFieldDescriptor(probe, what);
  return kind == nullptr ? "ping" : kind->name();
}

}  // namespace

Result<> check_route(const std::string& address) {
  boost::system::error_code error;
  const auto where = asio::ip::make_address_v4(address, error);
  asio::io_context io{1};
  asio::ip::udp::socket socket{io};
  constexpr std::uint16_t discard = 9;
  if (!error) socket.open(asio::ip::udp::v4(), error);
  if (!error) socket.connect({where, discard}, error);  // sends nothing
  if (!error) return {};
  return fail(ErrorKind::unavailable, "this host has no way to {}: {}", address, error.message());
}

std::string probe_name(const config::Probe& probe) {
  if (!probe.name().empty()) return probe.name();
  const auto kind = kind_of(probe);
  if (probe.has_tcp()) return fmt::format("{} {}", kind, probe.tcp().port());
  if (probe.has_http())
    return fmt::format("{} {}{}", kind, probe.http().port(), probe.http().path());
  if (probe.has_sql()) return fmt::format("{} {}", kind, probe.sql().database());
  if (probe.has_script()) return fmt::format("{} {}", kind, probe.script().command(0));
  return kind;
}

std::string bounded_text(std::string text) {
  text.resize(std::min(text.size(), limits::probe_text_bytes));
  for (auto& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((std::iscntrl(byte) != 0 && c != '\n') || byte >= 0x80) c = '?';
  }
  return text;
}

control::ProbeReport run_probe(const config::Probe& probe, const ProbeTarget& target,
                               const GoesOn& goes_on) {
  const auto begun = now();
  const Try attempt{target, begun + std::chrono::seconds{probe.timeout_s()}, goes_on};
  control::ProbeReport report;
  report.set_name(bounded_text(probe_name(probe)));
  report.set_kind(kind_of(probe));
  while (true) {
    report.set_attempts(report.attempts() + 1);
    auto outcome = attempt_once(probe, attempt);
    report.set_passed(outcome.passed);
    report.set_said(bounded_text(std::move(outcome.said)));
    if (outcome.passed || !attempt.lasts()) break;
    std::this_thread::sleep_for(limits::probe_retry);
  }
  report.set_took_us(static_cast<std::uint64_t>(in_microseconds(now() - begun).count()));
  return report;
}

}  // namespace understudy::failover
