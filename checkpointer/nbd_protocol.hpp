// The server's side of NBD, without a socket: fixed newstyle negotiation and simple replies
// (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). Pure.
//
// Everything is big-endian. What a client says is believed only after it was compared with the
// limits; a client that does not speak NBD is closed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace understudy::checkpointer::nbd {

struct Export {
  std::string name;
  std::uint64_t bytes{};
};

/// What a connection can do once an export was chosen; sent in transmission flags. A flush covers
/// what was answered on any connection, so several may be used.
inline constexpr std::uint16_t transmission_flags =
    1U | 4U | 8U | 32U | 64U | 256U;  // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, CAN_MULTI_CONN

class Negotiation {
 public:
  enum class Next : std::uint8_t { more, serve, close };
  struct Step {
    std::vector<std::byte> reply;
    Next next{Next::more};
  };

  explicit Negotiation(std::vector<Export> exports) : exports_{std::move(exports)} {}

  /// What the server says first.
  [[nodiscard]] static std::vector<std::byte> greeting();
  /// So many bytes `take` wants; never 0.
  [[nodiscard]] std::size_t wanted() const;
  [[nodiscard]] Step take(std::span<const std::byte> bytes);
  /// Which export, after Next::serve.
  [[nodiscard]] std::size_t chosen() const { return chosen_; }

 private:
  enum class State : std::uint8_t { flags, option, data };

  [[nodiscard]] Step on_flags(std::span<const std::byte> bytes);
  [[nodiscard]] Step on_option(std::span<const std::byte> bytes);
  [[nodiscard]] Step on_data(std::span<const std::byte> data);
  [[nodiscard]] Step on_export_name(std::span<const std::byte> data);
  [[nodiscard]] Step on_list(std::span<const std::byte> data) const;
  [[nodiscard]] Step on_info(std::span<const std::byte> data);
  /// An empty name is the first export.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const;

  std::vector<Export> exports_;
  State state_{State::flags};
  bool no_zeroes_{};
  std::uint32_t option_{};
  std::uint32_t length_{};
  std::size_t options_{};
  std::size_t chosen_{};
};

enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  write_zeroes = 6,
};

inline constexpr std::size_t request_bytes = 28;
inline constexpr std::uint16_t flag_fua = 1;
inline constexpr std::uint16_t flag_no_hole = 2;

struct Request {
  std::uint16_t flags{};
  Command command{};
  std::uint64_t handle{};
  std::uint64_t offset{};
  std::uint32_t bytes{};
};

/// nullopt: no request at all, the connection cannot go on.
[[nodiscard]] std::optional<Request> decode_request(
    std::span<const std::byte, request_bytes> bytes);

/// Whether a device of this size can do it.
[[nodiscard]] std::error_code check_request(const Request& request, std::uint64_t device_bytes);

/// The payload that follows a request.
[[nodiscard]] constexpr std::uint32_t payload_bytes(const Request& request) {
  return request.command == Command::write ? request.bytes : 0;
}

using ReplyBytes = std::array<std::byte, 16>;
[[nodiscard]] ReplyBytes encode_reply(std::uint64_t handle, std::error_code error);

}  // namespace understudy::checkpointer::nbd
