#include "replication/openssl_credentials.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>

#include "config/assert.hpp"
#include "config/secret.hpp"

namespace understudy::replication {
namespace {

constexpr std::string_view identity = "understudy";
constexpr std::string_view psk_label = "understudy replication key, version 1";
constexpr std::string_view vouching_label = "understudy replication, vouching, version 1";
/// TLS_AES_256_GCM_SHA384.
constexpr std::array<unsigned char, 2> suite_number{0x13, 0x02};
constexpr auto suite_name = "TLS_AES_256_GCM_SHA384";
constexpr auto groups = "X25519:P-256";

constexpr auto how_to_make =
    "make one and copy it to every host: head -c 32 /dev/urandom > FILE; chmod 600 FILE";

/// The file's key is used for nothing but this: each use gets a key of its own, and another
/// protocol or version may take another label.
Result<OpensslCredentials::Psk> derive(std::span<const std::byte> shared_key,
                                       std::string_view label) {
  OpensslCredentials::Psk key{};
  unsigned int bytes = 0;
  // SAFETY: OpenSSL wants bytes under another name.
  if (HMAC(EVP_sha384(), shared_key.data(), static_cast<int>(shared_key.size()),
           reinterpret_cast<const unsigned char*>(label.data()), label.size(), key.data(),
           &bytes) == nullptr ||
      bytes != key.size()) {
    return fail_openssl("deriving the links' key");
  }
  return key;
}

const OpensslCredentials& credentials_of(SSL* ssl) {
  return *static_cast<const OpensslCredentials*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

/// The client offers the key, whatever hash is asked for: our only suite has one.
int offer_key(SSL* ssl, const EVP_MD* /*hash*/, const unsigned char** id, std::size_t* id_bytes,
              SSL_SESSION** session) {
  // SAFETY: OpenSSL wants bytes; they live as long as the program.
  *id = reinterpret_cast<const unsigned char*>(identity.data());
  *id_bytes = identity.size();
  *session = credentials_of(ssl).session(ssl).release();
  return *session == nullptr ? 0 : 1;
}

/// The server looks for the key by its name. Without it the handshake finds no certificate either,
/// and fails.
int find_key(SSL* ssl, const unsigned char* id, std::size_t id_bytes, SSL_SESSION** session) {
  *session = nullptr;
  // SAFETY: characters are bytes.
  if (std::string_view{reinterpret_cast<const char*>(id), id_bytes} != identity) return 1;
  *session = credentials_of(ssl).session(ssl).release();
  return *session == nullptr ? 0 : 1;
}

}  // namespace

unsigned long first_openssl_error() {
  const auto error = ERR_get_error();
  ERR_clear_error();
  return error;
}

tl::unexpected<Error> fail_openssl(std::string_view what) {
  const auto error = first_openssl_error();
  const auto* reason = ERR_reason_error_string(error);
  return fail(ErrorKind::io, "{}: OpenSSL: {}", what, reason == nullptr ? "no reason" : reason);
}

Result<std::shared_ptr<const Credentials>> Credentials::load(const std::string& file) {
  UNDERSTUDY_TRY(const auto key, Secret::load({"key", file, limits::shared_key_bytes,
                                               limits::shared_key_bytes_max, how_to_make}));
  return OpensslCredentials::create(key.bytes());
}

Result<std::shared_ptr<const Credentials>> OpensslCredentials::create(
    std::span<const std::byte> shared_key) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  const std::shared_ptr<OpensslCredentials> credentials{new OpensslCredentials};
  UNDERSTUDY_TRY(credentials->psk_, derive(shared_key, psk_label));
  UNDERSTUDY_TRY(credentials->vouching_key_, derive(shared_key, vouching_label));
  UNDERSTUDY_CHECK(credentials->make_context());
  return credentials;
}

OpensslCredentials::~OpensslCredentials() {
  OPENSSL_cleanse(psk_.data(), psk_.size());
  OPENSSL_cleanse(vouching_key_.data(), vouching_key_.size());
}

Voucher OpensslCredentials::vouch(std::span<const std::byte> words) const {
  Psk whole{};
  unsigned int bytes = 0;
  // SAFETY: OpenSSL wants bytes under another name.
  const auto* made = HMAC(EVP_sha384(), vouching_key_.data(), psk_bytes,
                          reinterpret_cast<const unsigned char*>(words.data()), words.size(),
                          whole.data(), &bytes);
  UNDERSTUDY_ASSERT(made != nullptr && bytes == whole.size(), "a hash that was used before works");
  Voucher voucher;
  std::memcpy(voucher.data(), whole.data(), voucher.size());
  return voucher;
}

Result<> OpensslCredentials::make_context() {
  context_.reset(SSL_CTX_new(TLS_method()));
  auto* context = context_.get();
  // Nothing but TLS 1.3 with one suite and a fresh key exchange each time, so that who learns the
  // shared key later can read nothing that was said before.
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, suite_name) != 1 ||
      SSL_CTX_set1_groups_list(context, groups) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1 ||
      SSL_CTX_set_max_early_data(context, 0) != 1) {
    return fail_openssl("preparing TLS");
  }
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  SSL_CTX_clear_options(context, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_psk_use_session_callback(context, offer_key);
  SSL_CTX_set_psk_find_session_callback(context, find_key);
  SSL_CTX_set_app_data(context, this);
  return {};
}

Openssl<SSL_SESSION, SSL_SESSION_free> OpensslCredentials::session(SSL* ssl) const {
  Openssl<SSL_SESSION, SSL_SESSION_free> session{SSL_SESSION_new()};
  const auto* suite = SSL_CIPHER_find(ssl, suite_number.data());
  if (!session || suite == nullptr ||
      SSL_SESSION_set1_master_key(session.get(), psk_.data(), psk_.size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), suite) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
    return nullptr;
  }
  return session;
}

}  // namespace understudy::replication
