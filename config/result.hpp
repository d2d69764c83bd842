// Expected failures are values. An error has a kind that the code acts on, and a sentence for
// people that names the thing and, where there is one, the remedy.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <tl/expected.hpp>

namespace understudy {

/// Only kinds on which some caller acts.
enum class ErrorKind {
  invalid,       ///< what an operator, a file or a peer gave is wrong; repeating it will not help
  unavailable,   ///< something needed is not there (QEMU, corosync, a kernel feature, a peer)
  incompatible,  ///< both sides work, but not together
  conflict,      ///< the guest or the name is already in use, or in another state
  limit,         ///< a named limit is reached
  protocol,      ///< the peer does not speak as agreed; the session ends
  closed,        ///< the other end is gone, or we are stopping
  timed_out,     ///< a bounded wait ended
  io,            ///< the operating system refused
};

struct Error {
  ErrorKind kind;
  std::string message;

  /// The same error with its surroundings named: "starting guest pg: <message>".
  [[nodiscard]] Error within(std::string_view context) const {
    return {kind, fmt::format("{}: {}", context, message)};
  }
};

template <class T = void>
using Result = tl::expected<T, Error>;

template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(ErrorKind kind, fmt::format_string<Args...> text,
                                         Args&&... args) {
  return tl::unexpected<Error>{Error{kind, fmt::format(text, std::forward<Args>(args)...)}};
}

[[nodiscard]] inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>{std::move(error)};
}

/// The error that `errno` (or `code`) describes: "what: Permission denied".
[[nodiscard]] inline tl::unexpected<Error> fail_errno(std::string_view what, int code = errno) {
  return fail(ErrorKind::io, "{}: {}", what, std::generic_category().message(code));
}

}  // namespace understudy

#define UNDERSTUDY_CONCAT_INNER(a, b) a##b
#define UNDERSTUDY_CONCAT(a, b) UNDERSTUDY_CONCAT_INNER(a, b)

/// `UNDERSTUDY_TRY(auto fd, open_it());` binds the value or returns the error from this function.
#define UNDERSTUDY_TRY(declaration, expression) \
  UNDERSTUDY_TRY_INNER(UNDERSTUDY_CONCAT(try_result_, __LINE__), declaration, expression)
#define UNDERSTUDY_TRY_INNER(result, declaration, expression)        \
  auto result = (expression);                                        \
  if (!result) return ::understudy::fail(std::move(result).error()); \
  declaration = std::move(*result)

/// `UNDERSTUDY_CHECK(do_it());` returns the error, or goes on.
#define UNDERSTUDY_CHECK(expression)                              \
  do {                                                            \
    if (auto check_result = (expression); !check_result)          \
      return ::understudy::fail(std::move(check_result).error()); \
  } while (false)
