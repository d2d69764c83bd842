#include "failover/console/cli.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <span>
#include <thread>

#include <fmt/format.h>

#include "config/clock.hpp"
#include "config/limits.hpp"
#include "failover/console/commands.hpp"
#include "failover/console/completion.hpp"
#include "failover/console/drill_view.hpp"
#include "failover/console/history_view.hpp"
#include "failover/console/progress_view.hpp"
#include "failover/console/sla_view.hpp"
#include "failover/console/status_json.hpp"
#include "failover/console/status_view.hpp"
#include "failover/control_client.hpp"

namespace understudy::failover::console {
namespace {

constexpr auto watch_interval = std::chrono::seconds{1};

class Console {
 public:
  Console(const Wish& wish, std::ostream& out, std::ostream& err, const Terminal& terminal)
      : wish_{wish}, out_{out}, err_{err}, terminal_{terminal}, paint_{terminal.colour} {}

  int status() {
    if (const int code = status_once(); code != exit_done || !wish_.watch) return code;
    while (true) {
      std::this_thread::sleep_for(watch_interval);
      if (terminal_.out == Terminal::Kind::none && !wish_.json) out_ << "\n";
      status_once();  // a daemon that is being restarted comes back
    }
  }

  int sla() {
    control::Request request;
    request.mutable_status();
    const auto reply = ControlClient::call(wish_.socket, request, {});
    if (!reply) return unreachable(reply.error());
    const auto& guests = reply->status().guest();
    const auto guest = std::ranges::find(guests, wish_.guest, &control::Guest::name);
    if (guest == guests.end()) {
      err_ << fmt::format("understudy: host {} knows no guest \"{}\"\n", reply->status().host(),
                          wish_.guest);
      return exit_refused;
    }
    const auto sla = sla_of(*guest, wish_.month, unix_now());
    if (!sla) {
      err_ << "understudy: " << sla.error().message << "\n";
      return exit_refused;
    }
    out_ << (wish_.json ? sla_json(*sla) : sla_view(*sla, paint_));
    return wish_.html.empty() ? exit_done : write_page(sla_page(*sla));
  }

  /// A line for each word that may come next; nothing of what only an absent daemon knows.
  int complete(const Completion& completion) {
    for (const auto& word : completion.words) out_ << word << "\n";
    control::Request request;
    request.mutable_status();
    const bool asks = completion.names == Completion::Names::guests ||
                      completion.names == Completion::Names::hosts;
    const auto reply = asks ? ControlClient::call(wish_.socket, request, {}) : control::Reply{};
    if (!reply) return exit_done;
    const auto& status = reply->status();
    if (completion.names == Completion::Names::guests) {
      for (const auto& guest : status.guest()) out_ << guest.name() << "\n";
    } else {
      for (const auto& member : status.quorum().member()) out_ << member.name() << "\n";
    }
    return exit_done;
  }

  int drill() {
    control::Request request;
    request.mutable_drill()->set_guest(wish_.guest);
    if (!wish_.probe_file.empty()) {
      const auto plan = read_plan();
      if (!plan) {
        err_ << "understudy: " << plan.error().message << "\n";
        return exit_refused;
      }
      request.mutable_drill()->set_plan(*plan);
    }
    if (!wish_.real) return command(request);
    request.mutable_drill()->set_real(true);
    const int code = confirm(request, fmt::format("name of the guest to move it ({})", wish_.guest),
                             wish_.guest);
    if (code != exit_done) return code;
    request.mutable_drill()->set_sure(true);
    const int done = command(request);
    if (done == exit_unreachable) {
      err_ << fmt::format(
          "While a daemon runs here the drill goes on without you: `understudy status` says where "
          "guest {} is, `understudy drills` how it ended\n",
          wish_.guest);
    }
    return done;
  }

  int clone() {
    control::Request request;
    if (!wish_.stop.empty()) {
      request.mutable_stop_clone()->set_guest(wish_.guest);
      request.mutable_stop_clone()->set_id(wish_.stop);
      return command(request);
    }
    auto& wanted = *request.mutable_clone();
    wanted.set_guest(wish_.guest);
    wanted.set_gdb(wish_.gdb);
    const auto moment = parse_moment(wish_.at, wish_.ago, wish_.epoch);
    const auto plan = wish_.probe_file.empty() ? Result<std::string>{} : read_plan();
    if (!moment || !plan) {
      err_ << "understudy: " << (moment ? plan.error() : moment.error()).message << "\n";
      return exit_refused;
    }
    *wanted.mutable_moment() = *moment;
    wanted.set_plan(*plan);
    return command(request);
  }

  int export_to() {
    control::Request request;
    auto& wanted = *request.mutable_export_();
    wanted.set_guest(wish_.guest);
    wanted.set_path(absolute(wish_.file));
    wanted.set_replace(wish_.force);
    if (!read_moment(*wanted.mutable_moment())) return exit_refused;
    return command(request);
  }

  int import_from() {
    control::Request request;
    request.mutable_import()->set_guest(wish_.guest);
    request.mutable_import()->set_path(absolute(wish_.file));
    if (!wish_.yes) {
      const int code = confirm(
          request, fmt::format("name of the guest to import it ({})", wish_.guest), wish_.guest);
      if (code != exit_done) return code;
    }
    request.mutable_import()->set_sure(true);
    return command(request);
  }

  int rewind() {
    control::Request request;
    auto& wanted = *request.mutable_rewind();
    wanted.set_guest(wish_.guest);
    if (!read_moment(*wanted.mutable_moment())) return exit_refused;
    control::Stakes stakes;
    const int code =
        confirm(request, fmt::format("name of the guest that goes back ({})", wish_.guest),
                wish_.guest, &stakes);
    if (code != exit_done) return code;
    wanted.mutable_moment()->set_epoch(stakes.epoch());  // what was told of, and no other
    wanted.set_committed_unix_us(stakes.committed_unix_us());
    wanted.set_sure(true);
    return command(request);
  }

  int confirm_dead() {
    control::Request request;
    request.mutable_confirm_dead()->set_host(wish_.host);
    const int code = confirm(
        request, fmt::format("name of the dead host to confirm ({})", wish_.host), wish_.host);
    if (code != exit_done) return code;
    request.mutable_confirm_dead()->set_sure(true);
    return command(request);
  }

  int command(const control::Request& request) {
    const auto reply = call(request);
    if (!reply) return unreachable(reply.error());
    return show(*reply);
  }

 private:
  /// False, and told: it is not written as one.
  bool read_moment(control::Moment& moment) {
    const auto parsed = parse_moment(wish_.at, wish_.ago, wish_.epoch);
    if (parsed) {
      moment = *parsed;
    } else {
      err_ << "understudy: " << parsed.error().message << "\n";
    }
    return parsed.has_value();
  }

  /// As the daemon must be told: its directory is another one.
  static std::string absolute(const std::string& path) {
    std::error_code none;
    return std::filesystem::absolute(path, none).string();
  }

  /// Shows how it gets on.
  Result<control::Reply> call(const control::Request& request) {
    ProgressView progress{terminal_.err == Terminal::Kind::terminal ? ProgressView::Mode::bar
                                                                    : ProgressView::Mode::lines};
    auto reply = ControlClient::call(wish_.socket, request, [&](const auto& step) {
      err_ << progress.advance(step) << std::flush;
    });
    err_ << progress.end() << std::flush;
    return reply;
  }

  [[nodiscard]] Result<std::string> read_plan() const {
    std::ifstream file{wish_.probe_file, std::ios::binary};
    std::string text(limits::drill_plan_bytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.empty())
      return fail(ErrorKind::io, "{} cannot be read, or is empty", wish_.probe_file);
    if (text.size() <= limits::drill_plan_bytes) return text;
    return fail(ErrorKind::limit, "{}: larger than {} bytes", wish_.probe_file,
                limits::drill_plan_bytes);
  }

  /// First what is at stake, then the question; exit_done: do it.
  int confirm(const control::Request& request, const std::string& question,
              const std::string& expected, control::Stakes* told = nullptr) {
    const auto stakes = call(request);
    if (!stakes) return unreachable(stakes.error());
    if (stakes->has_error()) return show(*stakes);
    err_ << stakes->stakes().text() << std::flush;
    if (told != nullptr) *told = stakes->stakes();
    return wish_.yes || confirmed(question, expected) ? exit_done : exit_refused;
  }

  bool confirmed(const std::string& question, const std::string& expected) {
    if (!terminal_.ask) {
      err_ << "understudy: nothing was done; on a terminal you are asked, in a script say --yes\n";
      return false;
    }
    err_ << fmt::format("Type the {}: ", question) << std::flush;
    if (terminal_.ask() == expected) return true;
    err_ << "understudy: nothing was done\n";
    return false;
  }

  int write_page(const std::string& page) {
    std::ofstream file{wish_.html, std::ios::binary};
    if (file << page << std::flush) return exit_done;
    err_ << fmt::format("understudy: {} cannot be written\n", wish_.html);
    return exit_refused;
  }

  int status_once() {
    control::Request request;
    request.mutable_status();
    const auto reply = ControlClient::call(wish_.socket, request, {});
    // One piece, so that a redrawn screen does not flicker.
    if (redraws()) out_ << "\x1b[H\x1b[2J";
    const int code = reply ? show(*reply) : unreachable(reply.error());
    out_ << std::flush;
    return code;
  }

  [[nodiscard]] bool redraws() const {
    return wish_.watch && !wish_.json && terminal_.out == Terminal::Kind::terminal;
  }

  int show(const control::Reply& reply) {
    if (wish_.json && reply.what_case() != control::Reply::kStatus) return show_json(reply);
    switch (reply.what_case()) {
      case control::Reply::kError: return refused(reply.error());
      case control::Reply::kDone: return show(reply.done());
      case control::Reply::kStatus: return show(reply.status());
      case control::Reply::kVerification: return show(reply.verification());
      case control::Reply::kLinkTest: return show(reply.link_test());
      case control::Reply::kDrill: return show(reply.drill());
      case control::Reply::kDrills: return show(reply.drills());
      case control::Reply::kHistory:
        out_ << history_view(reply.history(), unix_now(), paint_);
        return exit_done;
      case control::Reply::kClone:
        out_ << clone_view(reply.clone(), paint_);
        return good(reply.clone()) ? exit_done : exit_refused;
      case control::Reply::kExported:
        out_ << exported_view(reply.exported(), paint_);
        return exit_done;
      case control::Reply::kClones: out_ << clones_view(reply.clones(), paint_); return exit_done;
      case control::Reply::kRewound:
        out_ << rewound_view(reply.rewound(), paint_);
        return exit_done;
      default: return refused({});
    }
  }

  int show(const control::Done& done) {
    if (!done.message().empty()) out_ << done.message() << "\n";
    return exit_done;
  }

  int show(const control::Status& status) {
    const auto layout = wish_.watch ? JsonLayout::line : JsonLayout::pretty;
    out_ << (wish_.json ? json_text(status, layout) : status_view(status, paint_));
    return exit_done;
  }

  int show(const control::Verification& verification) {
    out_ << verification_view(verification, paint_);
    return good(verification) ? exit_done : exit_refused;
  }

  int show(const control::DrillReport& drill) {
    out_ << drill_view(drill, paint_);
    return drill.passed() ? exit_done : exit_refused;
  }

  int show(const control::DrillList& drills) {
    out_ << drills_view(drills, paint_);
    return exit_done;
  }

  int show(const control::LinkTest& test) {
    out_ << link_test_view(test, paint_);
    return good(test) ? exit_done : exit_refused;
  }

  static bool good(const control::Verification& verification) {
    return outcome(verification) != Outcome::different;
  }
  static bool good(const control::CloneInfo& clone) {
    return std::ranges::all_of(clone.probe(), &control::ProbeReport::passed);
  }
  static bool good(const control::LinkTest& test) {
    return std::ranges::all_of(
        test.link(), [](const auto& link) { return link.failed().empty() || !link.configured(); });
  }

  /// The reply under its name in control.proto: {"done": {...}} or {"error": {...}}.
  int show_json(const control::Reply& reply) {
    out_ << json_text(reply, JsonLayout::pretty);
    switch (reply.what_case()) {
      case control::Reply::kDone: return exit_done;
      case control::Reply::kVerification:
        return good(reply.verification()) ? exit_done : exit_refused;
      case control::Reply::kLinkTest: return good(reply.link_test()) ? exit_done : exit_refused;
      case control::Reply::kDrill: return reply.drill().passed() ? exit_done : exit_refused;
      case control::Reply::kDrills:
      case control::Reply::kHistory:
      case control::Reply::kExported:
      case control::Reply::kRewound:
      case control::Reply::kClones: return exit_done;
      case control::Reply::kClone: return good(reply.clone()) ? exit_done : exit_refused;
      default: return exit_refused;
    }
  }

  int refused(const control::Error& error) {
    err_ << "understudy: " << (error.message().empty() ? "refused" : error.message()) << "\n";
    return exit_refused;
  }

  int unreachable(const Error& error) {
    if (error.kind == ErrorKind::unavailable || error.kind == ErrorKind::invalid) {
      err_ << fmt::format(
          "understudy: cannot reach the daemon at {}\nIs understudyd running? Start it with "
          "`understudyd --config FILE`, or name its socket with --socket.\n",
          error.message);
    } else {
      err_ << fmt::format("understudy: {} ({})\n", error.message, wish_.socket);
    }
    return exit_unreachable;
  }

  const Wish& wish_;
  std::ostream& out_;
  std::ostream& err_;
  Terminal terminal_;
  Paint paint_;
};

}  // namespace

int run(std::vector<std::string> arguments, std::ostream& out, std::ostream& err,
        const Terminal& terminal) {
  CLI::App app{"Understudy keeps a running copy of virtual machines on a second host."};
  Wish wish;
  describe(app, wish);
  // What the shell asks while a line is being typed: the words behind "--" need not make sense yet.
  if (arguments.size() > 1 && arguments.front() == "complete" && arguments[1] == "--") {
    const auto typed = std::span{arguments}.subspan(2);
    const auto socket = std::ranges::find(typed, "--socket");
    if (const char* named = std::getenv("UNDERSTUDY_SOCKET")) wish.socket = named;
    if (typed.end() - socket > 1) wish.socket = *std::next(socket);
    return Console{wish, out, err, terminal}.complete(complete(app, typed));
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? exit_done : exit_usage;
  }
  Console console{wish, out, err, terminal};
  const auto command = app.get_subcommands().front()->get_name();
  if (command == "completion") {
    out << completion_script();
    return exit_done;
  }
  if (command == "status") return console.status();
  if (command == "sla") return console.sla();
  if (command == "drill") return console.drill();
  if (command == "clone") return console.clone();
  if (command == "export") return console.export_to();
  if (command == "import") return console.import_from();
  if (command == "rewind") return console.rewind();
  if (command == "confirm-dead") return console.confirm_dead();
  return console.command(request_for(command, wish));
}

}  // namespace understudy::failover::console
