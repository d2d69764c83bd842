#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <iostream>

#include "failover/console/cli.hpp"

namespace {

using namespace understudy::failover::console;

Terminal::Kind kind_of(int fd) {
  return ::isatty(fd) == 1 ? Terminal::Kind::terminal : Terminal::Kind::none;
}

bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");  // https://no-color.org
  return no_colour == nullptr || *no_colour == '\0';
}

}  // namespace

int main(int argc, char** argv) try {
  Terminal terminal{kind_of(STDOUT_FILENO), kind_of(STDERR_FILENO), Paint::Mode::plain};
  if (terminal.out == Terminal::Kind::terminal && wants_colour()) {
    terminal.colour = Paint::Mode::colour;
  }
  if (::isatty(STDIN_FILENO) == 1 && terminal.err == Terminal::Kind::terminal) {
    terminal.ask = [] {
      std::string line;
      std::getline(std::cin, line);
      return line;
    };
  }
  return run({argv + 1, argv + argc}, std::cout, std::cerr, terminal);
} catch (const std::exception& error) {
  std::cerr << "understudy: " << error.what() << "\n";
  return exit_refused;
}
