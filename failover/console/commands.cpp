#include "failover/console/commands.hpp"

#include <array>
#include <utility>

namespace understudy::failover::console {
namespace {

CLI::App* add_guest_command(CLI::App& app, const char* name, const char* help, Wish& wish) {
  auto* command = app.add_subcommand(name, help);
  command->add_option("VM", wish.guest, "the guest's name in the configuration")->required();
  return command;
}

std::array<CLI::Option*, 3> add_moment(CLI::App& command, const char* time, Wish& wish) {
  auto* at = command.add_option(time, wish.at, "the newest epoch until then (UTC)");
  at->type_name("TIME");
  auto* ago = command.add_option("--ago", wish.ago, "the same, so long ago: 30s, 5m, 2h");
  ago->type_name("SPAN")->excludes(at);
  auto* epoch = command.add_option("--epoch", wish.epoch, "exactly this epoch");
  epoch->type_name("N")->excludes(at)->excludes(ago);
  return {at, ago, epoch};
}

void add_history_commands(CLI::App& app, Wish& wish) {
  add_guest_command(app, "history", "What of a guest's past can be gone back to, on its backup",
                    wish);
  auto* rewind = add_guest_command(
      app, "rewind", "Let the guest itself go back, to this host, which keeps its history", wish);
  add_moment(*rewind, "--to", wish);
  rewind->add_flag("--yes", wish.yes, "do not ask");
  auto* clone = add_guest_command(
      app, "clone", "Let a past moment of the replica here run in a network of its own", wish);
  const auto moment = add_moment(*clone, "--at", wish);
  auto* probe = clone->add_option("--probe", wish.probe_file, "ask it that (config.Drill), too");
  probe->type_name("FILE");
  auto* gdb = clone->add_option(
      "--gdb", wish.gdb, "let gdb in: a port in the clone's network, or a socket's whole path");
  gdb->type_name("WHERE");
  auto* stop = clone->add_option("--stop", wish.stop, "end this clone");
  stop->type_name("ID");
  for (auto* other : moment) stop->excludes(other);
  stop->excludes(probe)->excludes(gdb);
  app.add_subcommand("clones", "The clones on this host");
  auto* exporting = add_guest_command(
      app, "export", "Write a moment of the replica here to a file: memory, devices, disks", wish);
  add_moment(*exporting, "--at", wish);
  exporting->add_option("FILE", wish.file, "the checkpoint; it is as secret as the guest")
      ->required();
  exporting->add_flag("--force", wish.force, "replace a file that is there");
  auto* importing = add_guest_command(
      app, "import", "Start a guest that runs nowhere from an exported file, over its disks here",
      wish);
  importing->add_option("FILE", wish.file, "the checkpoint")->required();
  importing->add_flag("--yes", wish.yes, "do not ask");
}

}  // namespace

void describe(CLI::App& app, Wish& wish) {
  app.name("understudy");
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "understudy " UNDERSTUDY_VERSION);
  app.set_help_all_flag("--help-all", "Print the help of every command");
  app.add_option("--socket", wish.socket, "the daemon's control socket")
      ->envname("UNDERSTUDY_SOCKET")
      ->capture_default_str()
      ->type_name("PATH");
  app.add_flag("--json", wish.json,
               "print the answer as JSON, by the messages of failover/control.proto");
  auto* status = app.add_subcommand("status", "Show guests, replication and quorum");
  status->add_flag("--watch", wish.watch, "again every second, until interrupted");
  auto* protect = add_guest_command(app, "protect", "Keep a standby of a guest on a backup", wish);
  protect->add_option("--backup", wish.backup, "the host that takes over")
      ->required()
      ->type_name("HOST");
  add_guest_command(app, "unprotect", "Let a guest run without its backup", wish);
  add_guest_command(app, "start", "Start a guest on this host", wish)
      ->add_flag("--accept-disks", wish.accept_disks,
                 "from the disk images here, even if they are not the newest or not whole");
  add_guest_command(app, "stop", "Stop a guest that runs on this host", wish);
  add_guest_command(app, "switchover", "Let a guest's backup run it, and keep it protected", wish);
  add_guest_command(app, "verify", "Compare a guest's disks and memory with its replica", wish)
      ->add_flag("--repair", wish.repair, "send what differs on the backup's disks again");
  auto* sla = add_guest_command(app, "sla", "What a guest's clients had of a month", wish);
  sla->add_option("--month", wish.month, "another month than this one (UTC)")->type_name("YYYY-MM");
  sla->add_option("--html", wish.html, "write a report, too")->type_name("FILE");
  auto* drill = add_guest_command(
      app, "drill", "Try a failover: a clone of the replica here, asked in a network of its own",
      wish);
  drill->add_option("--probe", wish.probe_file, "what to ask it (config.Drill), as text")
      ->type_name("FILE");
  auto* real = drill->add_flag("--real", wish.real,
                               "the guest itself, which runs here, to its backup and back");
  drill->add_flag("--yes", wish.yes, "do not ask")->needs(real);
  app.add_subcommand(
      "drills", "The drills of all hosts, the newest first; the evidence is where they were run");
  add_history_commands(app, wish);
  for (const auto& [name, help] :
       {std::pair{"drain", "Move all guests and replicas off this host, and take none"},
        {"undrain", "Take guests and replicas again"}}) {
    app.add_subcommand(name, help)
        ->add_option("HOST", wish.host, "this host's name, to be sure")
        ->required();
  }
  auto* dead = app.add_subcommand("confirm-dead",
                                  "Of two hosts: the other is dead, this one may go on alone");
  dead->add_option("HOST", wish.host, "the host that you know to be switched off")->required();
  dead->add_flag("--yes", wish.yes, "do not ask");
  auto* link = app.add_subcommand("link", "Examine the path to another host");
  link->require_subcommand(1);
  link->add_subcommand("test", "Measure throughput, round trip and loss, over each link")
      ->add_option("HOST", wish.host, "the other host")
      ->required();
  app.add_subcommand("completion", "Print what makes bash and zsh complete these commands");
  app.footer(
      "Exit status: 0 done; 1 refused, the replica differs, or a drill failed; 2 wrong usage; 3 "
      "the daemon is not "
      "reachable.");
}

control::Request request_for(const std::string& command, const Wish& wish) {
  control::Request request;
  if (command == "start") {
    request.mutable_start()->set_guest(wish.guest);
    request.mutable_start()->set_accept_disks(wish.accept_disks);
  }
  if (command == "stop") request.mutable_stop()->set_guest(wish.guest);
  if (command == "unprotect") request.mutable_unprotect()->set_guest(wish.guest);
  if (command == "switchover") request.mutable_switch_over()->set_guest(wish.guest);
  if (command == "verify") {
    request.mutable_verify()->set_guest(wish.guest);
    request.mutable_verify()->set_repair(wish.repair);
  }
  if (command == "protect") {
    request.mutable_protect()->set_guest(wish.guest);
    request.mutable_protect()->set_backup(wish.backup);
  }
  if (command == "drain") request.mutable_drain()->set_host(wish.host);
  if (command == "undrain") request.mutable_undrain()->set_host(wish.host);
  if (command == "history") request.mutable_history()->set_guest(wish.guest);
  if (command == "clones") request.mutable_clones();
  if (command == "drills") request.mutable_drills();
  if (command == "link") request.mutable_link_test()->set_host(wish.host);
  return request;
}

}  // namespace understudy::failover::console
