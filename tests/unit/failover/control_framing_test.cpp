#include "failover/control_framing.hpp"

#include <random>

#include <catch2/catch.hpp>

#include "failover/control.pb.h"

using namespace understudy;
using namespace understudy::failover;
using namespace std::string_literals;

namespace {

control::Request protect(const std::string& guest) {
  control::Request request;
  request.mutable_protect()->set_guest(guest);
  request.mutable_protect()->set_backup("b");
  return request;
}

}  // namespace

TEST_CASE("a message is preceded by its length, big-endian") {
  control::Request request;
  request.mutable_status();
  CHECK(*encode_control(request, 100) == "\0\0\0\x02\x0a\0"s);
  CHECK(encode_control(protect(std::string(300, 'x')), 400)->substr(0, 4) == "\0\0\x01\x35"s);
}

TEST_CASE("messages survive any cut of the stream") {
  const auto first = protect("one");
  const auto second = protect(std::string(1000, 'y'));
  const auto stream = *encode_control(first, 2000) + *encode_control(second, 2000);
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    ControlDecoder decoder{2000};
    std::vector<control::Request> got;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      decoder.append(std::string_view{stream}.substr(at, piece));
      while (true) {
        const auto body = decoder.next();
        REQUIRE(body);
        if (!*body) break;
        got.push_back(*parse_control<control::Request>(**body));
      }
    }
    REQUIRE(got.size() == 2);
    CHECK(got[0].protect().guest() == "one");
    CHECK(got[1].protect().guest().size() == 1000);
  }
}

TEST_CASE("a length beyond the limit is refused before its bytes come") {
  ControlDecoder decoder{100};
  decoder.append("\0\0\0\x65"s);
  CHECK(decoder.next().error().kind == ErrorKind::protocol);
  ControlDecoder huge{100};
  huge.append("\xff\xff\xff\xff"s);
  CHECK(huge.next().error().message ==
        "a message of 4294967295 bytes was announced; at most 100 are allowed");
}

TEST_CASE("a message that the other end would refuse is not sent") {
  CHECK(encode_control(protect(std::string(200, 'x')), 100).error().kind == ErrorKind::limit);
}

TEST_CASE("an empty message is a message") {
  ControlDecoder decoder{100};
  decoder.append("\0\0\0\0"s);
  CHECK((*decoder.next())->empty());
  CHECK_FALSE(*decoder.next());
}

TEST_CASE("rubbish is an error, not a crash") {
  CHECK(parse_control<control::Request>("\xff\xff\xff").error().kind == ErrorKind::protocol);
  std::mt19937_64 random{7};
  for (int round = 0; round < 5000; ++round) {
    ControlDecoder decoder{1000};
    std::string bytes(random() % 64, '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random());
    if (random() % 2 == 0) bytes.insert(0, "\0\0\0\x10"s);
    decoder.append(bytes);
    for (int i = 0; i < 20; ++i) {
      const auto body = decoder.next();
      if (!body || !*body) break;
      static_cast<void>(parse_control<control::Request>(**body));
    }
  }
}
