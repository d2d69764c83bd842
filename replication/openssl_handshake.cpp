// Handshake by OpenSSL: TLS 1.3 between two memory BIOs. No TLS record ever carries our data: once
// both sides have proved that they know the key, RFC 8446 7.5's exporter gives ours.
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "config/assert.hpp"
#include "replication/openssl_credentials.hpp"

namespace understudy::replication {
namespace {

constexpr std::string_view client_label = "EXPORTER-understudy-replication-client";
constexpr std::string_view server_label = "EXPORTER-understudy-replication-server";

constexpr auto give_same_key =
    "give both hosts the same key (security { psk_file } in their configurations)";

Error does_not_know_key() {
  return {ErrorKind::incompatible,
          fmt::format("it did not show that it knows our key; {}", give_same_key)};
}

/// What OpenSSL says of a peer, for an operator.
Error explain(unsigned long error) {
  const auto reason = ERR_GET_REASON(error);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
    if (reason == SSL_R_BINDER_DOES_NOT_VERIFY) {
      return {ErrorKind::incompatible, fmt::format("its key is not ours; {}", give_same_key)};
    }
    // A certificate instead, or no offer of a key.
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED ||
        reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM || reason == SSL_R_NO_SHARED_CIPHER) {
      return does_not_know_key();
    }
    if (reason > SSL_AD_REASON_OFFSET) {
      return {ErrorKind::incompatible, fmt::format("it refuses our key; {}", give_same_key)};
    }
  }
  const auto* text = ERR_reason_error_string(error);
  return {ErrorKind::protocol, fmt::format("this is no handshake of Understudy: {}",
                                           text == nullptr ? "it ends too early" : text)};
}

class OpensslHandshake final : public Handshake {
 public:
  OpensslHandshake(std::shared_ptr<const Credentials> credentials, HandshakeSide side)
      : credentials_{std::move(credentials)}, side_{side} {}

  [[nodiscard]] Result<> open();

  Result<> on_bytes(std::span<const std::byte> bytes) override;
  std::vector<std::byte> take_output() override;
  bool done() const override { return done_; }
  Result<SessionKeys> keys() override;

 private:
  [[nodiscard]] Result<> advance();
  [[nodiscard]] Result<> finish();
  [[nodiscard]] Result<TrafficSecret> secret(std::string_view label);

  std::shared_ptr<const Credentials> credentials_;
  HandshakeSide side_;
  Openssl<SSL, SSL_free> ssl_;
  BIO* in_{};   ///< SSL's
  BIO* out_{};  ///< SSL's
  std::size_t heard_bytes_{};
  bool failed_{};
  bool done_{};
};

Result<> OpensslHandshake::open() {
  // The only kind of Credentials there is: see Credentials::load.
  const auto& credentials = static_cast<const OpensslCredentials&>(*credentials_);
  ssl_.reset(SSL_new(credentials.context()));
  Openssl<BIO, BIO_free> in{BIO_new(BIO_s_mem())};
  Openssl<BIO, BIO_free> out{BIO_new(BIO_s_mem())};
  if (!ssl_ || !in || !out) return fail_openssl("beginning a handshake");
  in_ = in.release();
  out_ = out.release();
  SSL_set_bio(ssl_.get(), in_, out_);
  if (side_ == HandshakeSide::server) {
    SSL_set_accept_state(ssl_.get());
    return {};
  }
  SSL_set_connect_state(ssl_.get());
  // A server that shows a certificate instead of the key is refused: there are no roots to verify
  // one with. (Ours has no certificate, so that a client without the key gets nowhere.)
  SSL_set_verify(ssl_.get(), SSL_VERIFY_PEER, nullptr);
  return advance();  // the client speaks first
}

Result<> OpensslHandshake::on_bytes(std::span<const std::byte> bytes) {
  if (failed_ || done_) return fail(ErrorKind::protocol, "bytes came after the handshake's end");
  heard_bytes_ += bytes.size();
  if (heard_bytes_ > limits::handshake_bytes) {
    failed_ = true;
    return fail(ErrorKind::limit, "its handshake is longer than {} bytes", limits::handshake_bytes);
  }
  if (bytes.empty()) return {};
  ERR_clear_error();
  if (BIO_write(in_, bytes.data(), static_cast<int>(bytes.size())) !=
      static_cast<int>(bytes.size())) {
    failed_ = true;
    return fail_openssl("taking a handshake");
  }
  return advance();
}

Result<> OpensslHandshake::advance() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return finish();
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ) return {};
  failed_ = true;
  return fail(explain(first_openssl_error()));
}

Result<> OpensslHandshake::finish() {
  // Certificates are refused already; this says it once more where it matters.
  if (SSL_session_reused(ssl_.get()) != 1) {
    failed_ = true;
    return fail(does_not_know_key());
  }
  if (BIO_pending(in_) > 0) {
    failed_ = true;
    return fail(ErrorKind::protocol, "bytes came after the handshake's end");
  }
  done_ = true;
  return {};
}

std::vector<std::byte> OpensslHandshake::take_output() {
  std::vector<std::byte> bytes(BIO_ctrl_pending(out_));
  if (!bytes.empty()) {
    const int got = BIO_read(out_, bytes.data(), static_cast<int>(bytes.size()));
    UNDERSTUDY_ASSERT(got == static_cast<int>(bytes.size()), "memory gives what it holds");
  }
  return bytes;
}

Result<TrafficSecret> OpensslHandshake::secret(std::string_view label) {
  TrafficSecret secret{};
  // SAFETY: OpenSSL wants bytes under another name.
  if (SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(secret.data()),
                                 secret.size(), label.data(), label.size(), nullptr, 0, 0) != 1) {
    return fail_openssl("taking keys from a handshake");
  }
  return secret;
}

Result<SessionKeys> OpensslHandshake::keys() {
  UNDERSTUDY_ASSERT(done_, "keys come out of a handshake that is done");
  const bool client = side_ == HandshakeSide::client;
  UNDERSTUDY_TRY(const auto ours, secret(client ? client_label : server_label));
  UNDERSTUDY_TRY(const auto theirs, secret(client ? server_label : client_label));
  return SessionKeys{ours, theirs};
}

}  // namespace

Result<std::unique_ptr<Handshake>> Handshake::begin(std::shared_ptr<const Credentials> credentials,
                                                    HandshakeSide side) {
  auto handshake = std::make_unique<OpensslHandshake>(std::move(credentials), side);
  UNDERSTUDY_CHECK(handshake->open());
  return handshake;
}

}  // namespace understudy::replication
