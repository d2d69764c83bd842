// A TLS peer without the key that shows a certificate instead, or asks for one: what an attacker
// with OpenSSL at hand would try first.
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <catch2/catch.hpp>

#include "shared_key.hpp"

using namespace understudy;
using namespace understudy::replication;

namespace {

/// Either side of TLS 1.3, with a certificate of its own making, verifying nothing.
class CertificatePeer {
 public:
  explicit CertificatePeer(HandshakeSide side) : context_{SSL_CTX_new(TLS_method()), SSL_CTX_free} {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{
        EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free};
    const std::unique_ptr<X509, decltype(&X509_free)> certificate{X509_new(), X509_free};
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    REQUIRE(X509_set_pubkey(certificate.get(), key.get()) == 1);
    REQUIRE(X509_sign(certificate.get(), key.get(), nullptr) > 0);
    REQUIRE(SSL_CTX_use_certificate(context_.get(), certificate.get()) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey(context_.get(), key.get()) == 1);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (side == HandshakeSide::server) {
      SSL_set_accept_state(ssl_.get());
    } else {
      SSL_set_connect_state(ssl_.get());
    }
  }

  std::vector<std::byte> answer(std::span<const std::byte> bytes) {
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
    SSL_do_handshake(ssl_.get());
    std::vector<std::byte> out(BIO_ctrl_pending(SSL_get_wbio(ssl_.get())));
    BIO_read(SSL_get_wbio(ssl_.get()), out.data(), static_cast<int>(out.size()));
    return out;
  }

 private:
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
};

}  // namespace

TEST_CASE("a server that shows a certificate instead of the key is refused") {
  const auto ours = Handshake::begin(with_key(), HandshakeSide::client).value();
  CertificatePeer theirs{HandshakeSide::server};
  const auto flight = theirs.answer(ours->take_output());
  REQUIRE(flight.size() > 300);  // it answers with its certificate
  const auto heard = ours->on_bytes(flight);
  REQUIRE_FALSE(heard);
  CHECK_FALSE(ours->done());
  CHECK(heard.error().message.find("it did not show that it knows our key") != std::string::npos);
}

TEST_CASE("a client that would take any certificate gets none") {
  const auto ours = Handshake::begin(with_key(), HandshakeSide::server).value();
  CertificatePeer theirs{HandshakeSide::client};
  const auto heard = ours->on_bytes(theirs.answer({}));
  REQUIRE_FALSE(heard);
  CHECK(heard.error().message.find("it did not show that it knows our key") != std::string::npos);
  CHECK_FALSE(ours->done());
}
