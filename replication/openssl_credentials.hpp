// What Credentials are made of, for the OpenSSL files only.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <memory>

#include "replication/security.hpp"

namespace understudy::replication {

/// Calls OpenSSL's own function for the end of an object.
template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

template <class T, auto Free>
using Openssl = std::unique_ptr<T, OpensslFree<Free>>;

/// The first reason in OpenSSL's queue of errors, which is emptied. Zero: there was none.
[[nodiscard]] unsigned long first_openssl_error();

/// "OpenSSL: out of memory": nothing that a peer or an operator did.
[[nodiscard]] tl::unexpected<Error> fail_openssl(std::string_view what);

class OpensslCredentials final : public Credentials {
 public:
  /// The length of the cipher suite's hash.
  static constexpr std::size_t psk_bytes = 48;
  using Psk = std::array<unsigned char, psk_bytes>;

  [[nodiscard]] static Result<std::shared_ptr<const Credentials>> create(
      std::span<const std::byte> shared_key);
  ~OpensslCredentials() override;
  OpensslCredentials(const OpensslCredentials&) = delete;
  OpensslCredentials& operator=(const OpensslCredentials&) = delete;

  [[nodiscard]] Voucher vouch(std::span<const std::byte> words) const override;

  [[nodiscard]] SSL_CTX* context() const { return context_.get(); }
  /// The key as a session to be resumed, which is what TLS 1.3 takes an external key for.
  [[nodiscard]] Openssl<SSL_SESSION, SSL_SESSION_free> session(SSL* ssl) const;

 private:
  OpensslCredentials() = default;
  [[nodiscard]] Result<> make_context();

  Psk psk_{};
  Psk vouching_key_{};
  Openssl<SSL_CTX, SSL_CTX_free> context_;
};

}  // namespace understudy::replication
