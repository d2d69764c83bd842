#include "toy_security.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "config/assert.hpp"

namespace understudy::sim {
namespace {

using namespace replication;

constexpr std::size_t hello_bytes = 300;  // more than fits the smallest datagram
constexpr std::size_t finish_bytes = 32;

/// client: hello -> ; server: -> hello; client: finish ->
class ToyHandshake final : public Handshake {
 public:
  ToyHandshake(std::string secret, HandshakeSide side) : secret_{std::move(secret)}, side_{side} {
    if (side_ == HandshakeSide::client) say(hello_bytes);
  }
  Result<> on_bytes(std::span<const std::byte> bytes) override {
    for (const auto byte : bytes) {
      if (heard_ >= expected()) return fail(ErrorKind::protocol, "toy handshake: too many bytes");
      if (byte != at(heard_++)) return fail(ErrorKind::protocol, "toy handshake: another secret");
      if (heard_ == hello_bytes) say(side_ == HandshakeSide::client ? finish_bytes : hello_bytes);
    }
    return {};
  }
  std::vector<std::byte> take_output() override { return std::exchange(output_, {}); }
  bool done() const override { return heard_ == expected(); }
  Result<SessionKeys> keys() override {
    UNDERSTUDY_ASSERT(done(), "keys after done");
    SessionKeys keys{};
    keys.ours.fill(side_ == HandshakeSide::client ? std::byte{1} : std::byte{2});
    keys.theirs.fill(side_ == HandshakeSide::client ? std::byte{2} : std::byte{1});
    return keys;
  }

 private:
  [[nodiscard]] std::size_t expected() const {
    return side_ == HandshakeSide::client ? hello_bytes : hello_bytes + finish_bytes;
  }
  [[nodiscard]] std::byte at(std::size_t i) const {
    return static_cast<std::byte>(secret_[i % secret_.size()]);
  }
  void say(std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) output_.push_back(at(said_++));
  }

  std::string secret_;
  HandshakeSide side_;
  std::vector<std::byte> output_;
  std::size_t said_{};
  std::size_t heard_{};
};

class ToyCipher {
 public:
  explicit ToyCipher(const TrafficSecret& secret) : secret_{secret} {}
  void begin(std::uint64_t number, std::span<const std::byte> header) {
    mask_ = XXH3_64bits_withSeed(secret_.data(), secret_.size(), number);
    sum_ = XXH3_64bits_withSeed(header.data(), header.size(), mask_);
    at_ = 0;
  }
  void apply(std::span<const std::byte> in, std::span<std::byte> out) {
    for (std::size_t i = 0; i < in.size(); ++i, ++at_) {
      out[i] = in[i] ^ static_cast<std::byte>(mask_ >> (8 * (at_ % 8)));
    }
  }
  /// Of the plain bytes.
  void add(std::span<const std::byte> plain) {
    for (const auto byte : plain) sum_ = (sum_ ^ std::to_integer<std::uint64_t>(byte)) * prime;
  }
  [[nodiscard]] std::array<std::byte, RecordSealer::tag_bytes> tag() const {
    std::array<std::byte, RecordSealer::tag_bytes> tag{};
    std::memcpy(tag.data(), &sum_, sizeof sum_);
    return tag;
  }

 private:
  static constexpr std::uint64_t prime = 0x100000001b3;
  TrafficSecret secret_;
  std::uint64_t mask_{};
  std::uint64_t sum_{};
  std::size_t at_{};
};

class ToySealer final : public RecordSealer {
 public:
  explicit ToySealer(const TrafficSecret& secret) : cipher_{secret} {}
  void seal(std::uint64_t number, std::span<const std::byte> header,
            std::span<const std::span<const std::byte>> pieces, std::span<std::byte> out) override {
    UNDERSTUDY_ASSERT(number > last_, "a number never comes twice");
    last_ = number;
    cipher_.begin(number, header);
    for (const auto& piece : pieces) {
      cipher_.add(piece);
      cipher_.apply(piece, out);
      out = out.subspan(piece.size());
    }
    UNDERSTUDY_ASSERT(out.size() == tag_bytes, "room for the tag and no more");
    std::ranges::copy(cipher_.tag(), out.begin());
  }

 private:
  ToyCipher cipher_;
  std::uint64_t last_{};
};

class ToyOpener final : public RecordOpener {
 public:
  explicit ToyOpener(const TrafficSecret& secret) : cipher_{secret} {}
  Result<> begin(std::uint64_t number, std::span<const std::byte> header) override {
    cipher_.begin(number, header);
    return {};
  }
  void next(std::span<const std::byte> sealed, std::span<std::byte> out) override {
    cipher_.apply(sealed, out);
    cipher_.add(out.first(sealed.size()));
  }
  Result<> finish(std::span<const std::byte, RecordSealer::tag_bytes> tag) override {
    if (std::ranges::equal(cipher_.tag(), tag)) return {};
    return fail(ErrorKind::protocol, "toy tag");
  }

 private:
  ToyCipher cipher_;
};

}  // namespace

LinkSecurity toy_security(const std::string& secret) {
  return {
      .handshake = [secret](HandshakeSide side) -> Result<std::unique_ptr<Handshake>> {
        return std::make_unique<ToyHandshake>(secret, side);
      },
      .sealer = [](const TrafficSecret& key) -> Result<std::unique_ptr<RecordSealer>> {
        return std::make_unique<ToySealer>(key);
      },
      .opener = [](const TrafficSecret& key) -> Result<std::unique_ptr<RecordOpener>> {
        return std::make_unique<ToyOpener>(key);
      },
  };
}

}  // namespace understudy::sim
