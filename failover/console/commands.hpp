// The words of the command line, and what they ask for.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "failover/console/cli.hpp"
#include "failover/control.pb.h"

namespace understudy::failover::console {

/// What the command line asks for.
struct Wish {
  std::string socket{default_socket};
  std::string guest;
  std::string backup;
  std::string host;
  std::string month;
  std::string html;
  std::string probe_file;
  std::string at;
  std::string ago;
  std::string epoch;
  std::string gdb;
  std::string stop;
  std::string file;
  bool force{};
  bool accept_disks{};
  bool repair{};
  bool yes{};
  bool real{};
  bool json{};
  bool watch{};
};

/// Adds every command and option; parsing fills in `wish`, which must outlive the app.
void describe(CLI::App& app, Wish& wish);

/// Of the commands that are one request, without a question first.
[[nodiscard]] control::Request request_for(const std::string& command, const Wish& wish);

}  // namespace understudy::failover::console
