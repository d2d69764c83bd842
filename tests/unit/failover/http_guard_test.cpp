#include "failover/monitoring/http_guard.hpp"

#include <sys/stat.h>

#include <fstream>

#include <catch2/catch.hpp>

#include "config/limits.hpp"
#include "failover/monitoring/admission_rate.hpp"
#include "failover/monitoring/http_order.hpp"
#include "tests/unit/failover/temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

const std::string good_token = "0123456789abcdef";
const TimePoint begin{};

HttpGuard guard_of(const std::string& token) {
  return {HttpToken{token}, {"a.example.org"}};
}

const HttpPeer tls_peer{"10.0.0.9", true, false};
const HttpPeer local_peer{"127.0.0.1", false, true};
const HttpPeer clear_peer{"10.0.0.9", false, false};

HttpHead order_head(const std::string& authorization) {
  return {"10.0.0.1:9177", "https://10.0.0.1:9177", authorization, "application/json"};
}

const std::string bearer = "Bearer " + good_token;

unsigned status_of(const std::optional<HttpAnswer>& answer) {
  return answer ? answer->status : 200;
}

std::string complaint_about(const std::filesystem::path& file) {
  const auto loaded = HttpToken::load(file.string());
  return loaded ? "" : loaded.error().message;
}

std::filesystem::path file_with(const TemporaryDirectory& directory, const std::string& text,
                                mode_t mode = 0600) {
  const auto path = directory.path() / "token";
  std::ofstream{path, std::ios::binary | std::ios::trunc} << text;
  ::chmod(path.c_str(), mode);
  return path;
}

}  // namespace

TEST_CASE("a token's file is whole and its owner's alone, or the complaint says what to do") {
  const TemporaryDirectory directory;
  CHECK_THAT(complaint_about(directory.path() / "none"), Contains("head -c 24 /dev/urandom"));
  CHECK_THAT(complaint_about(directory.path()), Contains("is no file"));
  CHECK_THAT(complaint_about(file_with(directory, good_token, 0640)), Contains("chmod 600"));
  CHECK_THAT(complaint_about(file_with(directory, "short\n")), Contains("16 are the least"));
  CHECK_THAT(complaint_about(file_with(directory, "short" + std::string(20, '\n'))),
             Contains("16 are the least"));
  CHECK_THAT(complaint_about(file_with(directory, "two words of a token")), Contains("one line"));
  CHECK_THAT(complaint_about(file_with(directory, std::string(513, 'x'))), Contains("larger"));
  const auto token = HttpToken::load(file_with(directory, good_token + "\n").string());
  REQUIRE(token);
  CHECK(token->matches(good_token));
  CHECK_FALSE(token->matches(good_token + "\n"));
  CHECK_FALSE(token->matches(""));
  CHECK_FALSE(token->matches(good_token.substr(1)));
}

TEST_CASE("orders need a token, and a connection that keeps it") {
  const HttpGuard open{std::nullopt, {}};
  CHECK_THAT(open.obstacle(local_peer, order_head("")).value_or(""), Contains("http_token_file"));
  const auto guard = guard_of(good_token);
  CHECK_THAT(guard.obstacle(clear_peer, order_head("")).value_or(""), Contains("http_tls"));
  CHECK_FALSE(guard.obstacle(tls_peer, order_head("")));
  CHECK_FALSE(guard.obstacle(local_peer, order_head("")));
}

TEST_CASE("a name that is not the daemon's own gives no orders") {
  const auto guard = guard_of(good_token);
  const auto refused = [&](std::string_view host) {
    return guard.obstacle(tls_peer, {host, "", "", ""}).has_value();
  };
  for (const auto* own : {"10.0.0.1", "10.0.0.1:9177", "[::1]:9177", "localhost", "LocalHost:1",
                          "a.example.org", "A.Example.ORG:443"})
    CHECK_FALSE(refused(own));
  for (const auto* foreign : {"", ":", "[", "[]", "evil.example", "a.example.org.evil.example",
                              "10.0.0.1.evil.example", "xa.example.org", "localhost.evil:9177"})
    CHECK(refused(foreign));
}

TEST_CASE("an order shows the token, and comes from this daemon's page") {
  auto guard = guard_of(good_token);
  const auto status = [&](const HttpHead& head, const HttpPeer& peer = tls_peer) {
    return status_of(guard.refuse_order(peer, head, begin));
  };
  CHECK(status(order_head(bearer)) == 200);
  CHECK(status(order_head("bearer " + good_token)) == 200);
  CHECK(status(order_head("")) == 401);
  CHECK(status(order_head("Basic " + good_token)) == 401);
  CHECK(status(order_head("Bearer wrong")) == 401);
  CHECK(status(order_head(bearer), clear_peer) == 403);
  auto head = order_head(bearer);
  head.content_type = "application/json; charset=utf-8";
  CHECK(status(head) == 200);
  for (const auto* type : {"", "text/plain", "application/x-www-form-urlencoded"}) {
    head.content_type = type;
    CHECK(status(head) == 415);
  }
  head = order_head(bearer);
  for (const auto* origin : {"null", "https://evil.example", "http://10.0.0.1:9177",
                             "https://10.0.0.1", "https://10.0.0.1:9177.evil.example"}) {
    head.origin = origin;
    CHECK(status(head) == 403);
  }
  head.origin = "";  // no browser
  CHECK(status(head) == 200);
}

TEST_CASE("who guesses tokens is not listened to for a while") {
  auto guard = guard_of(good_token);
  const auto status = [&](const std::string& shown, const HttpPeer& peer, TimePoint at) {
    const auto authorization = "Bearer " + shown;
    return status_of(guard.refuse_token(peer, order_head(authorization), at));
  };
  for (unsigned i = 0; i < limits::http_token_failures; ++i) {
    CHECK(status(good_token, tls_peer, begin) == 200);
    CHECK(status("guess", tls_peer, begin + 1s) == 401);
  }
  CHECK(status("guess", tls_peer, begin + 2s) == 429);
  CHECK(status(good_token, tls_peer, begin + 2s) == 429);  // or guessing would go on
  CHECK(status(good_token, {"10.0.0.10", true, false}, begin + 2s) == 200);
  CHECK(status(good_token, tls_peer, begin + 1s + limits::http_token_period) == 200);
  CHECK(status("guess", tls_peer, begin + 1s + limits::http_token_period) == 401);
}

TEST_CASE("of those who guess, a limited number is remembered, the newest") {
  HttpTokenFailures failures;
  const auto spend = [&](const std::string& address) {
    for (unsigned i = 0; i < limits::http_token_failures; ++i) failures.add(address, begin);
  };
  for (std::size_t i = 0; i <= limits::http_token_addresses; ++i) spend(std::to_string(i));
  CHECK_FALSE(failures.too_many("0", begin));
  CHECK(failures.too_many("1", begin));
  CHECK(failures.too_many(std::to_string(limits::http_token_addresses), begin));
}

TEST_CASE("so many clients come in within a second, and others in the next") {
  AdmissionRate rate{3};
  for (int i = 0; i < 3; ++i) CHECK(rate.admit(begin + 5s));
  CHECK_FALSE(rate.admit(begin + 5s));
  CHECK_FALSE(rate.admit(begin + 5999ms));
  CHECK(rate.admit(begin + 6s));
}

TEST_CASE("a page orders what it has buttons for, and nothing else") {
  for (const auto* order :
       {R"({"start": {"guest": "pg"}})", R"({"stop": {"guest": "pg"}})",
        R"({"protect": {"guest": "pg", "backup": "b"}})", R"({"unprotect": {"guest": "pg"}})",
        R"({"switch_over": {"guest": "pg"}})", R"({"switchOver": {"guest": "pg"}})",
        R"({"drill": {"guest": "pg"}})", R"({"drill": {"guest": "pg", "real": true}})",
        R"({"verify": {"guest": "pg"}})", R"({"drain": {"host": "a"}})",
        R"({"undrain": {"host": "a"}})"})
    CHECK(parse_order(order));
  for (const auto* other :
       {"", "{}", "[]", "null", "rubbish", R"({"start": {"guest": "pg", "accept_disks": true}})",
        R"({"confirm_dead": {"host": "a", "sure": true}})", R"({"clone": {"guest": "pg"}})",
        R"({"status": {}})", R"({"made_up": {}})", R"({"switch_over": {"guest": 7, "more": 1}})",
        R"({"drain": {"host": "a"}, "undrain": {"host": "a"}})",
        R"({"drill": {"guest": "pg", "plan": "probe { script { command: \"/bin/sh\" } }"}})"})
    CHECK_FALSE(parse_order(other));
  CHECK_FALSE(parse_order(std::string(60'000, '[')));
  CHECK_FALSE(parse_order(std::string(1000, '\xff')));
  CHECK_THAT(order_text(*parse_order(R"({"drain": {"host": "a"}})")), Contains("drain"));
}
