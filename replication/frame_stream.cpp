#include "replication/frame_stream.hpp"

#include <algorithm>

#include "config/assert.hpp"
#include "replication/control_frame.hpp"

namespace understudy::replication {
namespace {

using ChunkHeader = std::array<std::byte, FrameStream::record_header_bytes>;

/// A chunk's header: 24 bits of length, then its kind. A frame in clear text begins with "USDY":
/// its fourth byte is no kind.
constexpr std::byte handshake_kind{0xE0};
constexpr std::byte record_kind{0xE1};

constexpr std::size_t least_record = limits::frame_header_bytes + RecordSealer::tag_bytes;
constexpr std::size_t largest_record = limits::frame_bytes + RecordSealer::tag_bytes;

constexpr auto how_to_share =
    "give both hosts the same security { psk_file } in their configurations";

ChunkHeader chunk_header(std::byte kind, std::size_t bytes) {
  return {static_cast<std::byte>(bytes), static_cast<std::byte>(bytes >> 8U),
          static_cast<std::byte>(bytes >> 16U), kind};
}

std::size_t chunk_bytes(std::span<const std::byte> header) {
  const auto at = [&](std::size_t i) { return std::to_integer<std::size_t>(header[i]); };
  return at(0) | at(1) << 8U | at(2) << 16U;
}

bool begins_handshake(std::span<const std::byte> bytes) {
  return bytes.size() >= FrameStream::record_header_bytes && bytes[3] == handshake_kind &&
         chunk_bytes(bytes) > 0 && chunk_bytes(bytes) <= limits::handshake_bytes;
}

bool begins_clear(std::span<const std::byte> bytes) {
  const auto magic = encode_signal(FrameType::ping, SessionId{});
  return std::ranges::equal(bytes.first(FrameStream::record_header_bytes),
                            std::span{magic}.first(FrameStream::record_header_bytes));
}

std::string in_hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format(" {:02x}", std::to_integer<unsigned>(byte));
  return text;
}

std::vector<std::byte> handshake_chunk(std::span<const std::byte> bytes) {
  const auto header = chunk_header(handshake_kind, bytes.size());
  std::vector<std::byte> chunk(header.size() + bytes.size());
  std::ranges::copy(bytes, std::ranges::copy(header, chunk.begin()).out);
  return chunk;
}

/// A TLS alert (handshake_failure): for a peer in clear text, which knows a chunk when it sees one.
std::vector<std::byte> refusal_in_chunks() {
  constexpr std::array alert{std::byte{0x15}, std::byte{3}, std::byte{3}, std::byte{0},
                             std::byte{2},    std::byte{2}, std::byte{40}};
  return handshake_chunk(alert);
}

Error wants_key() {
  return {ErrorKind::incompatible,
          fmt::format("the peer asks for a key, and this host has none; {}", how_to_share)};
}

Error has_no_key() {
  return {
      ErrorKind::incompatible,
      fmt::format("the peer speaks in clear text, and this host asks for a key; {}", how_to_share)};
}

}  // namespace

Result<FrameStream> FrameStream::begin(std::shared_ptr<const Credentials> credentials,
                                       HandshakeSide side) {
  FrameStream stream;
  if (!credentials) return stream;
  UNDERSTUDY_TRY(stream.handshake_, Handshake::begin(std::move(credentials), side));
  stream.state_ = State::handshake;
  const auto first = stream.handshake_->take_output();
  if (!first.empty()) stream.output_ = handshake_chunk(first);
  return stream;
}

std::size_t FrameStream::header_bytes() const {
  return limits::frame_header_bytes + (opener_ ? record_header_bytes : 0);
}

std::size_t FrameStream::tag_bytes() const {
  return opener_ ? RecordSealer::tag_bytes : 0;
}

std::array<std::span<std::byte>, 2> FrameStream::room() {
  const std::span ahead{ahead_};
  switch (state_) {
    case State::handshake:
      // No byte ahead of a chunk: where the handshake ends, records begin.
      if (ahead_read_ < record_header_bytes) {
        return {ahead.first(record_header_bytes).subspan(ahead_read_), {}};
      }
      return {std::span{chunk_}.subspan(chunk_read_), {}};
    case State::frame_header: return {ahead.first(header_bytes()).subspan(ahead_read_), {}};
    case State::frame_payload:
      return {place_.subspan(payload_read_),
              ahead.first(tag_bytes() + header_bytes()).subspan(ahead_read_)};
    case State::frame_placing: break;
  }
  return {};
}

void FrameStream::filled(std::size_t bytes) {
  const auto spaces = room();
  UNDERSTUDY_ASSERT(bytes <= spaces[0].size() + spaces[1].size(), "no more than there is room for");
  const auto first = std::min(bytes, spaces[0].size());
  switch (state_) {
    case State::handshake:
      (ahead_read_ < record_header_bytes ? ahead_read_ : chunk_read_) += first;
      break;
    case State::frame_header: ahead_read_ += first; break;
    case State::frame_payload:
      payload_read_ += first;
      ahead_read_ += bytes - first;
      break;
    case State::frame_placing: break;
  }
}

Result<FrameStream::Step> FrameStream::advance() {
  switch (state_) {
    case State::handshake: return advance_handshake();
    case State::frame_header: return advance_header();
    case State::frame_payload: return advance_payload();
    case State::frame_placing: break;
  }
  return Step::header;
}

// --- the handshake

Result<FrameStream::Step> FrameStream::advance_handshake() {
  if (ahead_read_ < record_header_bytes) return Step::more;
  if (chunk_.empty()) UNDERSTUDY_CHECK(begin_chunk());
  if (chunk_read_ < chunk_.size()) return Step::more;
  UNDERSTUDY_CHECK(hear_chunk());
  return ready() ? Step::ready : Step::more;
}

Result<> FrameStream::begin_chunk() {
  if (begins_clear(ahead_)) {
    output_ = refusal_in_chunks();
    return fail(has_no_key());
  }
  if (!begins_handshake(ahead_)) {
    return fail(ErrorKind::protocol, "this is no handshake of Understudy: it begins{}",
                in_hex(std::span{ahead_}.first<record_header_bytes>()));
  }
  chunk_.resize(chunk_bytes(ahead_));
  chunk_read_ = 0;
  return {};
}

Result<> FrameStream::hear_chunk() {
  const auto heard = handshake_->on_bytes(chunk_);
  chunk_.clear();
  ahead_read_ = 0;
  if (const auto answer = handshake_->take_output(); !answer.empty()) {
    const auto chunk = handshake_chunk(answer);
    output_.insert(output_.end(), chunk.begin(), chunk.end());
  }
  UNDERSTUDY_CHECK(heard);
  if (!handshake_->done()) return {};
  UNDERSTUDY_TRY(const auto keys, handshake_->keys());
  UNDERSTUDY_TRY(sealer_, RecordSealer::create(keys.ours));
  UNDERSTUDY_TRY(opener_, RecordOpener::create(keys.theirs));
  handshake_.reset();
  state_ = State::frame_header;
  return {};
}

// --- frames

Result<FrameStream::Step> FrameStream::advance_header() {
  if (ahead_read_ < header_bytes()) return Step::more;
  UNDERSTUDY_TRY(header_, opener_ ? open_header() : read_header());
  shift(header_bytes());
  state_ = State::frame_placing;
  return Step::header;
}

Result<FrameHeader> FrameStream::read_header() {
  auto header = decode_header(std::span{ahead_}.first<limits::frame_header_bytes>());
  if (!header && begins_handshake(ahead_)) {
    output_ = encode_bye(SessionId{}, wants_key().message);
    return fail(wants_key());
  }
  return header;
}

Result<FrameHeader> FrameStream::open_header() {
  const auto record = std::span{ahead_}.first<record_header_bytes>();
  const auto bytes = chunk_bytes(record);
  if (record[3] != record_kind || bytes < least_record || bytes > largest_record) {
    return fail(ErrorKind::protocol, "this is no record: it begins{}", in_hex(record));
  }
  UNDERSTUDY_CHECK(opener_->begin(opened_++, record));
  HeaderBytes opened;
  opener_->next(std::span{ahead_}.subspan<record_header_bytes, limits::frame_header_bytes>(),
                opened);
  auto header = decode_header(opened);
  if (!header) return fail(header.error().within("in a record that may have been altered"));
  if (header->payload_bytes + least_record != bytes) {
    return fail(ErrorKind::protocol,
                "a record of {} bytes cannot hold a frame of {}: it was altered", bytes,
                header->payload_bytes);
  }
  return header;
}

void FrameStream::place(std::span<std::byte> where) {
  UNDERSTUDY_ASSERT(state_ == State::frame_placing && where.size() >= header_.payload_bytes,
                    "a place is asked for, and large enough");
  place_ = where.first(header_.payload_bytes);
  payload_read_ = 0;
  state_ = State::frame_payload;
}

Result<FrameStream::Step> FrameStream::advance_payload() {
  if (payload_read_ < place_.size() || ahead_read_ < tag_bytes()) return Step::more;
  if (opener_) {
    opener_->next(place_, place_);
    UNDERSTUDY_CHECK(opener_->finish(std::span{ahead_}.first<RecordSealer::tag_bytes>()));
    shift(RecordSealer::tag_bytes);
  }
  UNDERSTUDY_CHECK(verify_checksum(header_, place_));
  state_ = State::frame_header;
  return Step::frame;
}

void FrameStream::shift(std::size_t bytes) {
  std::copy(ahead_.begin() + static_cast<std::ptrdiff_t>(bytes),
            ahead_.begin() + static_cast<std::ptrdiff_t>(ahead_read_), ahead_.begin());
  ahead_read_ -= bytes;
}

Error FrameStream::end() const {
  if (state_ == State::handshake) {
    return {ErrorKind::closed, fmt::format("the peer hung up in the handshake; {}", how_to_share)};
  }
  if (!opener_ && begins_handshake(std::span{ahead_}.first(ahead_read_))) return wants_key();
  if (state_ != State::frame_header || ahead_read_ > 0) {
    return {ErrorKind::protocol, "its stream ended in the middle of a frame"};
  }
  return {ErrorKind::closed, "the peer closed the connection"};
}

// --- out

void FrameStream::seal(std::span<const std::byte> frame, std::span<std::byte> out) {
  UNDERSTUDY_ASSERT(sealer_ && out.size() == frame.size() + overhead_bytes,
                    "a record has a fixed overhead");
  const auto header = chunk_header(record_kind, frame.size() + RecordSealer::tag_bytes);
  std::ranges::copy(header, out.begin());
  const std::array pieces{frame};
  sealer_->seal(sealed_++, header, pieces, out.subspan(record_header_bytes));
}

std::vector<std::byte> FrameStream::take_output() {
  return std::exchange(output_, {});
}

}  // namespace understudy::replication
