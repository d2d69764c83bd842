// What lies between a genuine sealer and a secured stream may do anything to the bytes: the frames
// that come out are the first ones that went in, unchanged. The input is a list of
// {what to do, argument}.
#include <algorithm>
#include <deque>

#include "config/assert.hpp"
#include "fuzz_key.hpp"
#include "fuzz_targets.hpp"
#include "replication/frame_stream.hpp"

namespace understudy::replication {
namespace {

using Bytes = std::vector<std::byte>;

/// Reads all of `bytes` into the stream, in pieces; counts the frames that come out.
class Reader {
 public:
  explicit Reader(FrameStream& stream) : stream_{stream} {}

  /// False: the stream has refused what came.
  bool take(std::span<const std::byte> bytes, std::size_t piece) {
    while (true) {
      const auto step = stream_.advance();
      if (!step) return false;
      switch (*step) {
        case FrameStream::Step::more:
          if (bytes.empty()) return true;
          bytes = bytes.subspan(fill(bytes, piece));
          break;
        case FrameStream::Step::header: stream_.place(place_); break;
        case FrameStream::Step::frame:
          ++frames_;
          check();
          break;
        case FrameStream::Step::ready: break;
      }
    }
  }
  [[nodiscard]] std::size_t frames() const { return frames_; }

 private:
  std::size_t fill(std::span<const std::byte> bytes, std::size_t piece) {
    std::size_t filled = 0;
    for (const auto space : stream_.room()) {
      const auto part = std::min({space.size(), bytes.size() - filled, piece - filled});
      std::ranges::copy(bytes.subspan(filled, part), space.begin());
      filled += part;
    }
    UNDERSTUDY_ASSERT(filled > 0, "a stream that wants more has room for it");
    stream_.filled(filled);
    return filled;
  }
  void check() const {
    UNDERSTUDY_ASSERT(stream_.header().sequence == Sequence{frames_}, "frames in order, each once");
    for (const auto byte : stream_.payload()) {
      UNDERSTUDY_ASSERT(byte == static_cast<std::byte>(frames_), "unchanged");
    }
  }

  FrameStream& stream_;
  std::vector<std::byte> place_ = std::vector<std::byte>(limits::frame_payload_bytes);
  std::size_t frames_{};
};

struct Ends {
  FrameStream client = FrameStream::begin(fuzz_key(), HandshakeSide::client).value();
  FrameStream server = FrameStream::begin(fuzz_key(), HandshakeSide::server).value();

  Ends() {
    Reader to_client{client};
    Reader to_server{server};
    while (!client.ready() || !server.ready()) {
      UNDERSTUDY_ASSERT(to_server.take(client.take_output(), 1000), "the same key");
      UNDERSTUDY_ASSERT(to_client.take(server.take_output(), 1000), "the same key");
    }
  }
  Bytes record(std::uint64_t number, std::size_t payload_bytes) {
    const Bytes payload(payload_bytes, static_cast<std::byte>(number));
    const auto header =
        encode_header({.type = FrameType::pages, .sequence = Sequence{number}}, payload);
    Bytes frame(header.size() + payload.size());
    std::ranges::copy(payload, std::ranges::copy(header, frame.begin()).out);
    Bytes sealed(frame.size() + FrameStream::overhead_bytes);
    client.seal(frame, sealed);
    return sealed;
  }
};

/// What may come out: the records that arrived as they were sent, byte for byte from the first one
/// on. One that was cut may be made whole by the next one's first byte.
class Truth {
 public:
  void sent(const Bytes& record) {
    sent_.insert(sent_.end(), record.begin(), record.end());
    ends_.push_back(sent_.size());
  }
  void given(const Bytes& bytes) {
    given_.insert(given_.end(), bytes.begin(), bytes.end());
    const auto both = std::min(sent_.size(), given_.size());
    while (same_ < both && sent_[same_] == given_[same_]) ++same_;
  }
  [[nodiscard]] bool genuine() const { return same_ == given_.size(); }
  [[nodiscard]] std::size_t frames() const {
    return static_cast<std::size_t>(std::ranges::upper_bound(ends_, same_) - ends_.begin());
  }

 private:
  Bytes sent_;
  Bytes given_;
  std::vector<std::size_t> ends_;  ///< of the records in sent_
  std::size_t same_{};
};

}  // namespace

void fuzz_frame_stream(std::span<const std::byte> input) {
  Ends ends;
  Reader reader{ends.server};
  std::deque<Bytes> sent;
  Truth truth;
  std::uint64_t number = 0;
  bool open = true;
  while (input.size() >= 2 && open) {
    const auto what = std::to_integer<unsigned>(input[0]) % 8;
    const auto argument = std::to_integer<std::size_t>(input[1]);
    input = input.subspan(2);
    auto record = ends.record(++number, argument * 7);
    sent.push_back(record);
    truth.sent(record);
    switch (what) {
      case 4: record.at(argument % record.size()) ^= std::byte{1}; break;
      case 5: record.resize(argument % record.size()); break;
      case 6: record = sent.at(argument % sent.size()); break;  // perhaps this one itself
      case 7:
        record.assign(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(
                                                         std::min(argument, input.size())));
        break;
      default: break;
    }
    truth.given(record);
    open = reader.take(record, 1 + argument % 200);
    UNDERSTUDY_ASSERT(reader.frames() == truth.frames() && (open || !truth.genuine()),
                      "what is genuine comes out, and after the first meddling nothing");
  }
}

}  // namespace understudy::replication
