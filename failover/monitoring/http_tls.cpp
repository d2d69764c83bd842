#include "failover/monitoring/http_tls.hpp"

#include <boost/asio/buffer.hpp>

#include "config/limits.hpp"
#include "config/secret.hpp"

namespace understudy::failover {

namespace ssl = boost::asio::ssl;

Result<std::shared_ptr<ssl::context>> load_tls(const config::HttpTls& files) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                       ssl::context::no_sslv3 | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                       SSL_OP_NO_RENEGOTIATION);
  boost::system::error_code error;
  context->use_certificate_chain_file(files.certificate_file(), error);
  if (error) {
    return fail(ErrorKind::invalid, "http_tls: certificate_file {}: {}", files.certificate_file(),
                error.message());
  }
  UNDERSTUDY_TRY(
      const auto key,
      Secret::load({"http_tls: key_file", files.key_file(), 1, limits::http_key_bytes_max,
                    "it is the private key that the certificate was made with"}));
  context->use_private_key(boost::asio::buffer(key.bytes().data(), key.bytes().size()),
                           ssl::context::pem, error);
  if (error) {
    return fail(ErrorKind::invalid, "http_tls: key_file {}: {}", files.key_file(), error.message());
  }
  return context;
}

}  // namespace understudy::failover
