// A daemon's membership without the daemon, for the test beside: prints what it hears, one line
// each, with CLOCK_MONOTONIC in seconds; sends what it reads.
//
//   1234.567890 view ring=1.8 quorum=yes members=1,2,3 returned=
//   1234.567890 message 2 hello
//   1234.567890 lost cannot reach corosync: ...
//
// stdin: "send TEXT", "flood COUNT", "stop" (leaves the group); its end stops as well.
#include <csignal>
#include <iostream>

#include <unistd.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>

#include "config/clock.hpp"
#include "failover/corosync_membership.hpp"

namespace {

using namespace understudy;
using namespace understudy::failover;
namespace asio = boost::asio;

std::string list(const std::vector<NodeId>& nodes) {
  return fmt::format("{}", fmt::join(nodes, ","));
}

void print(std::string_view what) {
  const std::chrono::duration<double> at = now().time_since_epoch();
  std::cout << fmt::format("{:.6f} {}\n", at.count(), what) << std::flush;
}

class Printer : public MembershipEvents {
 public:
  void on_view(const View& view) override {
    print(fmt::format("view ring={} quorum={} members={} returned={}", to_string(view.ring),
                      view.quorum == Quorum::present ? "yes" : "no", list(view.members),
                      list(view.returned)));
  }
  void on_message(NodeId sender, std::span<const std::byte> message) override {
    std::string text;
    for (const auto byte : message) text.push_back(static_cast<char>(byte));
    print(fmt::format("message {} {}", sender, text));
  }
  void on_lost(const Error& reason) override { print("lost " + reason.message); }
};

class Commands {
 public:
  Commands(asio::io_context& io, CorosyncMembership& membership)
      : input_{io, ::dup(STDIN_FILENO)}, membership_{membership} {}

  void read() {
    asio::async_read_until(input_, buffer_, '\n', [this](auto error, std::size_t /*count*/) {
      std::string line;
      std::istream stream{&buffer_};
      if (error || !std::getline(stream, line) || line == "stop") return membership_.stop();
      if (line.rfind("send ", 0) == 0) send(line.substr(5));
      if (line.rfind("flood ", 0) == 0) flood(std::stoi(line.substr(6)));
      read();
    });
  }

 private:
  void send(const std::string& text) {
    std::vector<std::byte> message(text.size());
    std::transform(text.begin(), text.end(), message.begin(),
                   [](char letter) { return static_cast<std::byte>(letter); });
    membership_.send(std::move(message));
  }

  void flood(int count) {
    for (int i = 0; i < count; ++i) send(fmt::format("flood {}", i));
  }

  asio::posix::stream_descriptor input_;
  asio::streambuf buffer_;
  CorosyncMembership& membership_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  asio::io_context io;
  Printer printer;
  const auto membership = CorosyncMembership::start(io, argv[1], printer);
  Commands commands{io, *membership};
  commands.read();
  io.run();
  print("stopped");
  return 0;
}
