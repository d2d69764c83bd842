#include "checkpointer/nbd_protocol.hpp"

#include <algorithm>

#include "config/assert.hpp"
#include "config/limits.hpp"

namespace understudy::checkpointer::nbd {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint64_t magic = 0x4e42444d41474943;         // "NBDMAGIC"
constexpr std::uint64_t option_magic = 0x49484156454f5054;  // "IHAVEOPT"
constexpr std::uint64_t option_reply_magic = 0x3e889045565a9;
constexpr std::uint32_t request_magic = 0x25609513;
constexpr std::uint32_t reply_magic = 0x67446698;

constexpr std::uint16_t fixed_newstyle = 1;
constexpr std::uint16_t no_zeroes = 2;

enum Option : std::uint32_t { export_name = 1, abort = 2, list = 3, info = 6, go = 7 };

enum OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  information = 3,
  unsupported = 0x80000001,
  invalid = 0x80000003,
  unknown = 0x80000006,
  too_big = 0x80000009,
};

constexpr std::uint16_t info_export = 0;
constexpr std::uint16_t info_name = 1;
constexpr std::uint16_t info_block_size = 3;
constexpr std::uint32_t preferred_block = 4096;

constexpr std::size_t option_head_bytes = 16;
constexpr std::size_t export_name_padding = 124;

template <class T>
T big(Bytes bytes, std::size_t at) {
  std::uint64_t value{};
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = value << 8U | std::to_integer<std::uint64_t>(bytes[at + i]);
  return static_cast<T>(value);
}

class Writer {
 public:
  template <class T>
  Writer& number(T value) {
    for (std::size_t i = sizeof value; i-- > 0;)
      bytes_.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
    return *this;
  }
  Writer& text(std::string_view text) { return raw(std::as_bytes(std::span{text})); }
  Writer& raw(Bytes more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

std::vector<std::byte> option_reply(std::uint32_t option, OptionReply type, Bytes data = {}) {
  Writer writer;
  writer.number(option_reply_magic).number(option).number(static_cast<std::uint32_t>(type));
  writer.number(static_cast<std::uint32_t>(data.size())).raw(data);
  return writer.take();
}

void append(std::vector<std::byte>& to, const std::vector<std::byte>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

std::string text_of(Bytes bytes) {
  std::string text;
  for (const auto byte : bytes) text += static_cast<char>(byte);
  return text;
}

}  // namespace

std::vector<std::byte> Negotiation::greeting() {
  constexpr std::uint16_t flags = fixed_newstyle | no_zeroes;
  return Writer{}.number(magic).number(option_magic).number(flags).take();
}

std::size_t Negotiation::wanted() const {
  switch (state_) {
    case State::flags: return 4;
    case State::option: return option_head_bytes;
    case State::data: return length_;
  }
  return 0;
}

Negotiation::Step Negotiation::take(std::span<const std::byte> bytes) {
  UNDERSTUDY_ASSERT(bytes.size() == wanted(), "as many bytes as were wanted");
  switch (state_) {
    case State::flags: return on_flags(bytes);
    case State::option: return on_option(bytes);
    case State::data: return on_data(bytes);
  }
  return {{}, Next::close};
}

Negotiation::Step Negotiation::on_flags(Bytes bytes) {
  const auto flags = big<std::uint32_t>(bytes, 0);
  constexpr std::uint32_t known = fixed_newstyle | no_zeroes;
  if ((flags & ~known) != 0 || (flags & fixed_newstyle) == 0) return {{}, Next::close};
  no_zeroes_ = (flags & no_zeroes) != 0;
  state_ = State::option;
  return {};
}

Negotiation::Step Negotiation::on_option(Bytes bytes) {
  option_ = big<std::uint32_t>(bytes, 8);
  length_ = big<std::uint32_t>(bytes, 12);
  const bool possible =
      big<std::uint64_t>(bytes, 0) == option_magic && length_ <= limits::nbd_option_bytes;
  if (!possible || ++options_ > limits::nbd_options) return {{}, Next::close};
  if (length_ == 0) return on_data({});
  state_ = State::data;
  return {};
}

Negotiation::Step Negotiation::on_data(Bytes data) {
  state_ = State::option;
  switch (option_) {
    case export_name: return on_export_name(data);
    case abort: return {option_reply(option_, ack), Next::close};
    case list: return on_list(data);
    case info:
    case go: return on_info(data);
    default: return {option_reply(option_, unsupported), Next::more};
  }
}

/// The old way to choose, which has no answer for a name that is unknown.
Negotiation::Step Negotiation::on_export_name(Bytes data) {
  const auto found = find(text_of(data));
  if (!found) return {{}, Next::close};
  chosen_ = *found;
  Writer writer;
  writer.number(exports_[chosen_].bytes).number(transmission_flags);
  if (!no_zeroes_) writer.raw(std::vector<std::byte>(export_name_padding));
  return {writer.take(), Next::serve};
}

Negotiation::Step Negotiation::on_list(Bytes data) const {
  if (!data.empty()) return {option_reply(option_, invalid), Next::more};
  Step step;
  for (const auto& one : exports_) {
    Writer writer;
    writer.number(static_cast<std::uint32_t>(one.name.size())).text(one.name);
    append(step.reply, option_reply(option_, server, writer.take()));
  }
  append(step.reply, option_reply(option_, ack));
  return step;
}

/// u32 length of the name, name, u16 number of wishes, u16 each.
Negotiation::Step Negotiation::on_info(Bytes data) {
  const Step malformed{option_reply(option_, invalid), Next::more};
  if (data.size() < 6) return malformed;
  const auto name_bytes = big<std::uint32_t>(data, 0);
  if (name_bytes > data.size() - 6) return malformed;
  const auto wishes = std::size_t{big<std::uint16_t>(data, 4 + name_bytes)};
  if (data.size() != 6 + name_bytes + 2 * wishes) return malformed;
  const auto found = find(text_of(data.subspan(4, name_bytes)));
  if (!found) return {option_reply(option_, unknown), Next::more};
  const auto& chosen = exports_[*found];

  Step step;
  append(step.reply,
         option_reply(
             option_, information,
             Writer{}.number(info_export).number(chosen.bytes).number(transmission_flags).take()));
  append(step.reply,
         option_reply(option_, information, Writer{}.number(info_name).text(chosen.name).take()));
  append(step.reply, option_reply(option_, information,
                                  Writer{}
                                      .number(info_block_size)
                                      .number(std::uint32_t{1})
                                      .number(preferred_block)
                                      .number(limits::nbd_request_bytes)
                                      .take()));
  append(step.reply, option_reply(option_, ack));
  if (option_ == go) {
    chosen_ = *found;
    step.next = Next::serve;
  }
  return step;
}

std::optional<std::size_t> Negotiation::find(std::string_view name) const {
  if (name.empty() && !exports_.empty()) return 0;
  const auto found = std::ranges::find(exports_, name, &Export::name);
  if (found == exports_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - exports_.begin());
}

std::optional<Request> decode_request(std::span<const std::byte, request_bytes> bytes) {
  if (big<std::uint32_t>(bytes, 0) != request_magic) return std::nullopt;
  return Request{big<std::uint16_t>(bytes, 4), static_cast<Command>(big<std::uint16_t>(bytes, 6)),
                 big<std::uint64_t>(bytes, 8), big<std::uint64_t>(bytes, 16),
                 big<std::uint32_t>(bytes, 24)};
}

std::error_code check_request(const Request& request, std::uint64_t device_bytes) {
  const auto invalid_request = std::make_error_code(std::errc::invalid_argument);
  const bool inside =
      request.offset <= device_bytes && request.bytes <= device_bytes - request.offset;
  switch (request.command) {
    case Command::read:
      if (request.flags != 0 && request.flags != flag_fua) return invalid_request;
      return inside && request.bytes > 0 && request.bytes <= limits::nbd_request_bytes
                 ? std::error_code{}
                 : invalid_request;
    case Command::write:
      if (!inside) return std::make_error_code(std::errc::no_space_on_device);
      return (request.flags & ~flag_fua) == 0 && request.bytes > 0 &&
                     request.bytes <= limits::nbd_request_bytes
                 ? std::error_code{}
                 : invalid_request;
    case Command::trim:
    case Command::write_zeroes: {
      const auto known = request.command == Command::trim ? flag_fua : flag_fua | flag_no_hole;
      if (!inside && request.command == Command::write_zeroes)
        return std::make_error_code(std::errc::no_space_on_device);
      return inside && request.bytes > 0 && (request.flags & ~known) == 0 ? std::error_code{}
                                                                          : invalid_request;
    }
    case Command::flush:
    case Command::disconnect: return {};
  }
  return invalid_request;
}

/// The protocol has its own list of errors; the numbers are Linux's.
ReplyBytes encode_reply(std::uint64_t handle, std::error_code error) {
  std::uint32_t code = error ? EIO : 0;
  for (const auto known : {std::errc::operation_not_permitted, std::errc::not_enough_memory,
                           std::errc::invalid_argument, std::errc::no_space_on_device}) {
    if (error == known) code = static_cast<std::uint32_t>(known);
  }
  const auto bytes = Writer{}.number(reply_magic).number(code).number(handle).take();
  ReplyBytes reply{};
  std::ranges::copy(bytes, reply.begin());
  return reply;
}

}  // namespace understudy::checkpointer::nbd
