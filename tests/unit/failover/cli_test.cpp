#include "failover/console/cli.hpp"

#include <filesystem>
#include <sstream>
#include <thread>

#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>

#include "failover/control_server.hpp"
#include "tests/unit/failover/temporary_directory.hpp"

using namespace understudy;
using namespace understudy::failover;
using namespace understudy::failover::console;
using Catch::Matchers::Contains;
using Catch::Matchers::Equals;

namespace {

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

Outcome understudy_command(std::vector<std::string> arguments, const Terminal& terminal = {}) {
  std::ostringstream out;
  std::ostringstream err;
  const int code = run(std::move(arguments), out, err, terminal);
  return {code, out.str(), err.str()};
}

/// Where somebody types this when asked; empty: nobody is there.
Terminal answering(const std::string& typed) {
  Terminal terminal;
  if (!typed.empty()) terminal.ask = [typed] { return typed; };
  return terminal;
}

/// A daemon that knows the guest pg.
class Daemon {
 public:
  Daemon() {
    auto server = ControlServer::listen(io_, path(), [](const auto& call) { answer(*call); });
    REQUIRE(server);
    server_ = *std::move(server);
    thread_ = std::thread{[this] { io_.run(); }};
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() {
    boost::asio::post(io_, [this] { server_->stop(); });
    thread_.join();
  }
  [[nodiscard]] std::string path() const { return directory_.path() / "control.sock"; }

 private:
  static void answer(ControlCall& call) {
    control::Reply reply;
    switch (call.request().what_case()) {
      case control::Request::kStatus:
        reply.mutable_status()->set_host("a");
        reply.mutable_status()->add_guest()->set_name("pg");
        reply.mutable_status()->mutable_quorum()->add_member()->set_name("b");
        break;
      case control::Request::kVerify: {
        auto& block = *reply.mutable_verification()->add_block();
        block.set_name("pc.ram");
        block.set_identical(call.request().verify().guest() == "pg");
        block.set_chunks_different(3);
        block.set_chunks_repaired(call.request().verify().repair() ? 3 : 0);
        break;
      }
      case control::Request::kProtect:
        if (call.request().protect().backup() == "a") {
          return call.fail({ErrorKind::invalid, "a cannot be its own backup"});
        }
        call.progress("synchronising memory", 0.5);
        return call.done("pg is protected by " + call.request().protect().backup());
      case control::Request::kStart: return call.done("started " + call.request().start().guest());
      case control::Request::kStop: return call.done("stopped " + call.request().stop().guest());
      case control::Request::kLinkTest: {
        auto& link = *reply.mutable_link_test()->add_link();
        link.set_link("tcp");
        link.set_configured(true);
        if (call.request().link_test().host() == "b") {
          link.set_bytes_per_second(2e9);
          link.set_round_trip_p50_us(81);
        } else {
          link.set_failed("it does not answer");
        }
        break;
      }
      case control::Request::kDrill:
        if (call.request().drill().real() && !call.request().drill().sure()) {
          reply.mutable_stakes()->set_text("it moves\n");
          break;
        }
        reply.mutable_drill()->set_kind(call.request().drill().real() ? "real" : "clone");
        reply.mutable_drill()->set_passed(true);
        break;
      case control::Request::kRewind: {
        const auto& wanted = call.request().rewind();
        if (!wanted.sure()) {
          reply.mutable_stakes()->set_text("its future is abandoned\n");
          reply.mutable_stakes()->set_epoch(41);
          break;
        }
        reply.mutable_rewound()->set_host("b");
        reply.mutable_rewound()->mutable_now()->set_epoch(wanted.moment().epoch());
        reply.mutable_rewound()->mutable_branch()->set_path("/branches/pg-1.checkpoint");
        break;
      }
      case control::Request::kUnprotect: return call.done("unprotected");
      case control::Request::kExport: {
        auto& exported = *reply.mutable_exported();
        exported.set_guest(call.request().export_().guest());
        exported.set_path(call.request().export_().path());
        exported.set_epoch(call.request().export_().moment().epoch());
        exported.set_bytes(call.request().export_().replace() ? 2048 : 1024);
        exported.set_chunks(16);
        break;
      }
      case control::Request::kImport:
        if (call.request().import().sure())
          return call.done("started from " + call.request().import().path());
        reply.mutable_stakes()->set_text("it is overwritten\n");
        break;
      default: return call.fail({ErrorKind::invalid, "what?"});
    }
    call.finish(std::move(reply));
  }

  TemporaryDirectory directory_;
  boost::asio::io_context io_;
  std::unique_ptr<ControlServer> server_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("help and version are no errors, each command has help") {
  CHECK(understudy_command({"--version"}).out == "understudy " UNDERSTUDY_VERSION "\n");
  CHECK(understudy_command({"--help"}).out.find("UNDERSTUDY_SOCKET") != std::string::npos);
  for (const auto* command : {"status", "protect", "unprotect", "start", "stop", "verify"}) {
    const auto help = understudy_command({command, "--help"});
    CHECK(help.code == exit_done);
    CHECK(help.out.find("Usage: understudy " + std::string{command}) != std::string::npos);
  }
}

TEST_CASE("wrong usage is told so, and no daemon is asked") {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{},
                                                                     {"bogus"},
                                                                     {"start"},
                                                                     {"protect", "pg"},
                                                                     {"status", "--bogus"},
                                                                     {"stop", "a", "b"}}) {
    const auto outcome = understudy_command(arguments);
    CHECK(outcome.code == exit_usage);
    CHECK_FALSE(outcome.err.empty());
  }
}

TEST_CASE("every answer can be had as JSON, a refusal too") {
  const Daemon daemon;
  const auto asked = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--json", "--socket", daemon.path()});
    return understudy_command(std::move(words));
  };
  CHECK_THAT(asked({"start", "pg"}).out, Contains(R"("message": "started pg")"));
  const auto refused = asked({"protect", "pg", "--backup", "a"});
  CHECK(refused.code == exit_refused);
  CHECK_THAT(refused.out, Contains(R"("kind": "invalid")") && Contains("its own backup"));
  CHECK_THAT(asked({"verify", "pg"}).out, Contains(R"("identical": true)"));
  CHECK(asked({"verify", "other"}).code == exit_refused);
  CHECK_THAT(asked({"link", "test", "b"}).out, Contains(R"("link": "tcp")"));
}

TEST_CASE("a shell hears what may come next") {
  const auto next = [](std::vector<std::string> typed) {
    typed.insert(typed.begin(), {"complete", "--"});
    const auto outcome = understudy_command(std::move(typed));
    CHECK(outcome.code == exit_done);
    return "\n" + outcome.out;
  };
  CHECK_THAT(next({""}), Contains("\nprotect\n") && Contains("\nstatus\n"));
  CHECK_THAT(next({"link", ""}), Equals("\ntest\n"));
  CHECK_THAT(next({"status", "--"}), Contains("\n--watch\n") && Contains("\n--socket\n"));
  CHECK_THAT(next({"status", "--socket", "nowhere", ""}), Contains("\n--json\n"));

  const Daemon daemon;
  CHECK(next({"--socket", daemon.path(), "protect", ""}) == "\npg\n");
  CHECK(next({"--socket", daemon.path(), "protect", "pg", "--backup", ""}) == "\nb\n");
  CHECK(next({"--socket", "nowhere", "protect", ""}) == "\n");
  CHECK_THAT(understudy_command({"completion"}).out, Contains("complete -o"));
}

TEST_CASE("no daemon is told with the remedy") {
  const auto outcome = understudy_command({"--socket", "/nowhere/control.sock", "status"});
  CHECK(outcome.code == exit_unreachable);
  CHECK(outcome.err ==
        "understudy: cannot reach the daemon at /nowhere/control.sock: No such file or directory\n"
        "Is understudyd running? Start it with `understudyd --config FILE`, or name its socket "
        "with --socket.\n");
}

TEST_CASE("commands reach the daemon, and its answer the operator") {
  const Daemon daemon;
  const auto ask = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--socket", daemon.path()});
    return understudy_command(std::move(arguments));
  };
  CHECK(ask({"start", "pg"}).out == "started pg\n");
  CHECK(ask({"stop", "pg"}).out == "stopped pg\n");
  CHECK(ask({"unprotect", "pg"}).code == exit_done);
  const auto protect = ask({"protect", "pg", "--backup", "b"});
  CHECK(protect.code == exit_done);
  CHECK(protect.out == "pg is protected by b\n");
  CHECK(ask({"status"}).out.find("host a") == 0);
  CHECK(ask({"status", "--json"}).out.find("\"host\": \"a\"") != std::string::npos);
  CHECK(ask({"verify", "pg"}).code == exit_done);
  CHECK(ask({"verify", "other"}).code == exit_refused);
  CHECK(ask({"verify", "other", "--repair"}).code == exit_done);
  const auto refused = ask({"protect", "pg", "--backup", "a"});
  CHECK(refused.code == exit_refused);
  CHECK(refused.err == "understudy: a cannot be its own backup\n");
  CHECK(refused.out.empty());
  // The socket may be named behind the command, too.
  CHECK(understudy_command({"start", "pg", "--socket", daemon.path()}).code == exit_done);
}

TEST_CASE("a real drill says what is at stake, and asks") {
  const Daemon daemon;
  const auto drill = [&](std::vector<std::string> more, const std::string& typed = {}) {
    more.insert(more.begin(), {"--socket", daemon.path(), "drill", "pg"});
    return understudy_command(std::move(more), answering(typed));
  };
  const auto script = drill({"--real"});
  CHECK(script.code == exit_refused);
  CHECK_THAT(script.err, Contains("it moves") && Contains("nothing was done"));
  CHECK(script.out.empty());
  CHECK(drill({"--real"}, "no").code == exit_refused);
  const auto sure = drill({"--real"}, "pg");
  CHECK(sure.code == exit_done);
  CHECK_THAT(sure.out, Contains("real drill"));
  CHECK(drill({"--real", "--yes"}).code == exit_done);
  CHECK(drill({"--yes"}).code == exit_usage);
  CHECK_THAT(drill({}).out, !Contains("real drill"));
}

TEST_CASE("a checkpoint file is named to the daemon by its whole path") {
  const Daemon daemon;
  const auto exported = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--socket", daemon.path(), "export", "pg"});
    return understudy_command(std::move(more));
  };
  const auto here = std::filesystem::current_path().string();
  CHECK_THAT(exported({"file", "--epoch", "7"}).out,
             Contains("epoch 7") && Contains(here + "/file (1.0 KiB: 0 B of memory, 1.0 MiB"));
  CHECK_THAT(exported({"/tmp/file", "--force"}).out, Contains(" /tmp/file (2.0 KiB"));
  CHECK(exported({"/tmp/file", "--ago", "soon"}).code == exit_refused);
  CHECK(exported({"/tmp/file", "--ago", "5m", "--epoch", "7"}).code == exit_usage);
  CHECK(exported({}).code == exit_usage);

  const auto imported = [&](std::vector<std::string> more, const std::string& typed = {}) {
    more.insert(more.begin(), {"--socket", daemon.path(), "import", "pg", "file"});
    return understudy_command(std::move(more), answering(typed));
  };
  const auto script = imported({});
  CHECK(script.code == exit_refused);
  CHECK_THAT(script.err, Contains("it is overwritten") && Contains("nothing was done"));
  CHECK(imported({}, "no").code == exit_refused);
  CHECK(imported({}, "pg").out == "started from " + here + "/file\n");
  CHECK(imported({"--yes"}).code == exit_done);
}

TEST_CASE("a rewind goes to the epoch that was told of, after asking") {
  const Daemon daemon;
  const auto rewound = [&](std::vector<std::string> words, const Terminal& terminal) {
    words.insert(words.begin(), {"rewind", "pg", "--socket", daemon.path()});
    return understudy_command(std::move(words), terminal);
  };
  const auto done = rewound({"--ago", "5m", "--yes"}, {});
  CHECK(done.code == exit_done);
  CHECK_THAT(done.err, Contains("its future is abandoned"));
  CHECK_THAT(done.out, Contains("epoch 41 of") && Contains("/branches/pg-1.checkpoint"));
  CHECK(rewound({"--ago", "5m"}, {}).code == exit_refused);
  Terminal terminal;
  terminal.ask = [] { return "other"; };
  CHECK_THAT(rewound({"--to", "2026-11-28 02:51:07"}, terminal).err, Contains("nothing was done"));
  terminal.ask = [] { return "pg"; };
  CHECK(rewound({"--epoch", "7"}, terminal).code == exit_done);
  CHECK(rewound({"--ago", "5 fortnights", "--yes"}, {}).code == exit_refused);
  CHECK(rewound({"--ago", "5m", "--epoch", "7"}, {}).code == exit_usage);
}

TEST_CASE("a link test shows a table, and fails if the configured link does") {
  const Daemon daemon;
  const auto good = understudy_command({"--socket", daemon.path(), "link", "test", "b"});
  CHECK(good.code == exit_done);
  CHECK(good.out.find("* tcp") != std::string::npos);
  CHECK(good.out.find("81 us") != std::string::npos);
  const auto bad = understudy_command({"--socket", daemon.path(), "link", "test", "c"});
  CHECK(bad.code == exit_refused);
  CHECK(bad.out.find("it does not answer") != std::string::npos);
  CHECK(understudy_command({"link", "test"}).code == exit_usage);
}
