// RecordSealer and RecordOpener by OpenSSL: AES-256-GCM.
//
//   secret 0           what the handshake gave
//   secret n + 1       HKDF-Expand(secret n, "understudy next")
//   key n, iv n        HKDF-Expand(secret n, "understudy key"), HKDF-Expand(secret n, "understudy
//   iv") nonce of a record  iv n XOR the record's number, n being number / records_per_key
//
// A secret is forgotten as soon as its successor is known: who takes a host's memory cannot read
// what was sent two keys ago.
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "config/assert.hpp"
#include "replication/openssl_credentials.hpp"

namespace understudy::replication {
namespace {

constexpr std::size_t nonce_bytes = 12;
using Nonce = std::array<unsigned char, nonce_bytes>;
using Cipher = Openssl<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

enum class Direction : int { open = 0, seal = 1 };

// SAFETY: OpenSSL's bytes are unsigned char.
const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw_room(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

/// HKDF-Expand (RFC 5869 2.3) with SHA-256 for one block: HMAC(secret, label | 1).
TrafficSecret expand(const TrafficSecret& secret, std::string_view label) {
  static_assert(std::tuple_size_v<TrafficSecret> == SHA256_DIGEST_LENGTH, "one block is enough");
  std::string info{label};
  info.push_back('\1');
  TrafficSecret out;
  // SAFETY: see raw.
  const auto* done = HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                          reinterpret_cast<const unsigned char*>(info.data()), info.size(),
                          raw_room(out), nullptr);
  UNDERSTUDY_ASSERT(done != nullptr, "a hash of a few bytes needs nothing that can fail");
  return out;
}

/// The cipher with one key.
class Generation {
 public:
  [[nodiscard]] Result<> allocate(Direction direction);

  void set_key(const TrafficSecret& secret);
  /// A record's beginning: its nonce, and what is authenticated beside it.
  void begin(std::uint64_t number, std::span<const std::byte> header);
  void next(std::span<const std::byte> in, std::span<std::byte> out);
  /// When sealing.
  void end(std::span<std::byte> tag);
  /// When opening: whether it holds.
  [[nodiscard]] bool verify(std::span<const std::byte> tag);

 private:
  Cipher cipher_;
  Nonce iv_{};
};

Result<> Generation::allocate(Direction direction) {
  cipher_.reset(EVP_CIPHER_CTX_new());
  if (!cipher_ || EVP_CipherInit_ex(cipher_.get(), EVP_aes_256_gcm(), nullptr, nullptr, nullptr,
                                    static_cast<int>(direction)) != 1) {
    return fail_openssl("preparing a cipher");
  }
  return {};
}

void Generation::set_key(const TrafficSecret& secret) {
  auto key = expand(secret, "understudy key");
  auto iv = expand(secret, "understudy iv");
  std::memcpy(iv_.data(), iv.data(), iv_.size());
  const int done = EVP_CipherInit_ex(cipher_.get(), nullptr, nullptr, raw_room(key), nullptr, -1);
  UNDERSTUDY_ASSERT(done == 1, "a cipher that is there takes a key");
  OPENSSL_cleanse(key.data(), key.size());
  OPENSSL_cleanse(iv.data(), iv.size());
}

void Generation::begin(std::uint64_t number, std::span<const std::byte> header) {
  auto nonce = iv_;
  for (std::size_t i = 0; i < sizeof number; ++i) {
    nonce.at(nonce_bytes - 1 - i) ^= static_cast<unsigned char>(number >> (8U * i));
  }
  int taken = 0;
  const bool done =
      EVP_CipherInit_ex(cipher_.get(), nullptr, nullptr, nullptr, nonce.data(), -1) == 1 &&
      EVP_CipherUpdate(cipher_.get(), nullptr, &taken, raw(header),
                       static_cast<int>(header.size())) == 1;
  UNDERSTUDY_ASSERT(done, "a cipher with a key takes a nonce");
}

void Generation::next(std::span<const std::byte> in, std::span<std::byte> out) {
  if (in.empty()) return;
  UNDERSTUDY_ASSERT(out.size() >= in.size(), "room for what is sealed or opened");
  int taken = 0;
  const bool done = EVP_CipherUpdate(cipher_.get(), raw_room(out), &taken, raw(in),
                                     static_cast<int>(in.size())) == 1;
  UNDERSTUDY_ASSERT(done && static_cast<std::size_t>(taken) == in.size(), "GCM is a stream cipher");
}

void Generation::end(std::span<std::byte> tag) {
  std::array<unsigned char, EVP_MAX_BLOCK_LENGTH> nothing{};
  int taken = 0;
  const bool done = EVP_CipherFinal_ex(cipher_.get(), nothing.data(), &taken) == 1 &&
                    EVP_CIPHER_CTX_ctrl(cipher_.get(), EVP_CTRL_AEAD_GET_TAG,
                                        static_cast<int>(tag.size()), tag.data()) == 1;
  UNDERSTUDY_ASSERT(done, "sealing needs nothing that can fail");
}

bool Generation::verify(std::span<const std::byte> tag) {
  std::array<std::byte, RecordSealer::tag_bytes> copy{};
  std::ranges::copy(tag, copy.begin());
  std::array<unsigned char, EVP_MAX_BLOCK_LENGTH> nothing{};
  int taken = 0;
  return EVP_CIPHER_CTX_ctrl(cipher_.get(), EVP_CTRL_AEAD_SET_TAG, static_cast<int>(copy.size()),
                             copy.data()) == 1 &&
         EVP_CipherFinal_ex(cipher_.get(), nothing.data(), &taken) == 1;
}

/// A secret that leaves nothing behind.
class Ratchet {
 public:
  explicit Ratchet(const TrafficSecret& secret) : secret_{secret} {}
  ~Ratchet() { OPENSSL_cleanse(secret_.data(), secret_.size()); }
  Ratchet(const Ratchet&) = delete;
  Ratchet& operator=(const Ratchet&) = delete;

  [[nodiscard]] const TrafficSecret& secret() const { return secret_; }
  void turn() {
    auto next = expand(secret_, "understudy next");
    secret_ = next;
    OPENSSL_cleanse(next.data(), next.size());
  }

 private:
  TrafficSecret secret_;
};

class OpensslSealer final : public RecordSealer {
 public:
  OpensslSealer(const TrafficSecret& secret, std::uint64_t records_per_key)
      : ratchet_{secret}, records_per_key_{records_per_key} {}

  [[nodiscard]] Result<> open() {
    UNDERSTUDY_CHECK(key_.allocate(Direction::seal));
    key_.set_key(ratchet_.secret());
    return {};
  }

  void seal(std::uint64_t number, std::span<const std::byte> header,
            std::span<const std::span<const std::byte>> pieces, std::span<std::byte> out) override {
    UNDERSTUDY_ASSERT(number >= next_number_, "a nonce must never come twice");
    next_number_ = number + 1;
    for (; generation_ < number / records_per_key_; ++generation_) {
      ratchet_.turn();
      turned_ = true;
    }
    if (std::exchange(turned_, false)) key_.set_key(ratchet_.secret());
    key_.begin(number, header);
    for (const auto& piece : pieces) {
      key_.next(piece, out);
      out = out.subspan(piece.size());
    }
    UNDERSTUDY_ASSERT(out.size() >= tag_bytes, "room for the tag");
    key_.end(out.first<tag_bytes>());
  }

 private:
  Ratchet ratchet_;
  const std::uint64_t records_per_key_;
  Generation key_;
  std::uint64_t generation_{};
  std::uint64_t next_number_{};
  bool turned_{};
};

/// Three keys: the newest that has proved itself by a record, the one before it, and the one after
/// it, which is made when a record claims it and becomes the newest only when that record's tag
/// holds. So a forger costs one derivation, once, and moves nothing.
class OpensslOpener final : public RecordOpener {
 public:
  OpensslOpener(const TrafficSecret& secret, std::uint64_t records_per_key)
      : ratchet_{secret}, records_per_key_{records_per_key} {}

  [[nodiscard]] Result<> open() {
    for (auto& key : keys_) UNDERSTUDY_CHECK(key.allocate(Direction::open));
    key(newest_).set_key(ratchet_.secret());
    return {};
  }

  Result<> begin(std::uint64_t number, std::span<const std::byte> header) override {
    const auto generation = number / records_per_key_;
    const bool known =
        generation + 1 >= newest_ && (generation <= newest_ || generation == newest_ + 1);
    if (!known) {
      return fail(ErrorKind::protocol, "record {} is of no key that can be in use", number);
    }
    if (generation == newest_ + 1 && !std::exchange(next_made_, true)) {
      ratchet_.turn();
      key(generation).set_key(ratchet_.secret());
    }
    current_ = generation;
    key(generation).begin(number, header);
    return {};
  }

  void next(std::span<const std::byte> sealed, std::span<std::byte> out) override {
    UNDERSTUDY_ASSERT(current_, "a record begins with `begin`");
    key(*current_).next(sealed, out);
  }

  Result<> finish(std::span<const std::byte, RecordSealer::tag_bytes> tag) override {
    UNDERSTUDY_ASSERT(current_, "a record begins with `begin`");
    const auto generation = *std::exchange(current_, std::nullopt);
    if (!key(generation).verify(tag)) {
      return fail(ErrorKind::protocol,
                  "a record was altered on its way, repeated or left out: its tag does not hold");
    }
    if (generation > newest_) {
      newest_ = generation;
      next_made_ = false;
    }
    return {};
  }

 private:
  [[nodiscard]] Generation& key(std::uint64_t generation) {
    return keys_.at(static_cast<std::size_t>(generation % keys_.size()));
  }

  Ratchet ratchet_;  ///< at the newest key, or at the next when that is made
  const std::uint64_t records_per_key_;
  std::array<Generation, 3> keys_;
  std::uint64_t newest_{};
  bool next_made_{};
  std::optional<std::uint64_t> current_;
};

}  // namespace

Result<std::unique_ptr<RecordSealer>> RecordSealer::create(const TrafficSecret& secret,
                                                           std::uint64_t records_per_key) {
  auto sealer = std::make_unique<OpensslSealer>(secret, records_per_key);
  UNDERSTUDY_CHECK(sealer->open());
  return sealer;
}

Result<std::unique_ptr<RecordOpener>> RecordOpener::create(const TrafficSecret& secret,
                                                           std::uint64_t records_per_key) {
  auto opener = std::make_unique<OpensslOpener>(secret, records_per_key);
  UNDERSTUDY_CHECK(opener->open());
  return opener;
}

}  // namespace understudy::replication
