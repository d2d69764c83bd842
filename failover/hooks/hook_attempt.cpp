#include "failover/hooks/hook_attempt.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "config/limits.hpp"
#include "config/names.hpp"
#include "failover/console/status_json.hpp"
#include "hypervisor/child_process.hpp"

namespace understudy::failover {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr std::size_t answer_bytes = 64U << 10U;

/// Until when, and whether at all.
struct Bounds {
  TimePoint deadline;
  const std::function<bool()>& ended;
  [[nodiscard]] bool last() const { return now() < deadline && !ended(); }
};

Result<> run_program(const config::ExecHook& exec, const control::Event& event,
                     const Bounds& bounds) {
  hypervisor::Launch launch;
  launch.command = {exec.command().begin(), exec.command().end()};
  launch.environment = {"EVENT=" + event.event(), "GUEST=" + event.guest(), "HOST=" + event.host(),
                        "STATE=" + event.state(), "DETAIL=" + event.detail()};
  launch.input = console::json_text(event, console::JsonLayout::line);
  launch.group = hypervisor::Launch::Group::own;
  UNDERSTUDY_TRY(auto child, hypervisor::ChildProcess::start(launch));
  while (!child.wait(limits::hook_poll)) {
    static_cast<void>(child.complaints());  // so that its pipe never fills
    if (!bounds.last()) return fail(ErrorKind::timed_out, "it did not end in time");
  }
  const auto status = child.exit_status();
  if (status == 0) return {};
  return fail(ErrorKind::io, "exit status {}", status);
}

template <class Stream>
asio::awaitable<unsigned> post(Stream& stream, const Url& url, const std::string& body) {
  http::request<http::string_body> request{http::verb::post, url.path, 11};
  request.set(http::field::host, url.host);
  request.set(http::field::content_type, "application/json");
  request.set(http::field::user_agent, "understudyd/" UNDERSTUDY_VERSION);
  request.set(http::field::connection, "close");
  request.body() = body;
  request.prepare_payload();
  co_await http::async_write(stream, request, asio::use_awaitable);
  boost::beast::flat_buffer buffer{answer_bytes};
  http::response_parser<http::empty_body> parser;
  co_await http::async_read_header(stream, buffer, parser, asio::use_awaitable);
  co_return parser.get().result_int();
}

asio::awaitable<unsigned> converse(Url url, std::string ca_file, std::string body) {
  tcp::resolver resolver{co_await asio::this_coro::executor};
  const auto where = co_await resolver.async_resolve(url.host, url.port, asio::use_awaitable);
  boost::beast::tcp_stream plain{co_await asio::this_coro::executor};
  co_await plain.async_connect(where, asio::use_awaitable);
  if (!url.tls) co_return co_await post(plain, url, body);
  asio::ssl::context context{asio::ssl::context::tls_client};
  if (ca_file.empty()) {
    context.set_default_verify_paths();
  } else {
    context.load_verify_file(ca_file);
  }
  context.set_verify_mode(asio::ssl::verify_peer);
  asio::ssl::stream<boost::beast::tcp_stream> stream{std::move(plain), context};
  stream.set_verify_callback(asio::ssl::host_name_verification{url.host});
  ::SSL_ctrl(stream.native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
             url.host.data());
  co_await stream.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
  co_return co_await post(stream, url, body);
}

/// A name that the resolver takes long to find outlasts the deadline by as long as that.
Result<> call_web(const config::WebHook& web, const control::Event& event, const Bounds& bounds) {
  UNDERSTUDY_TRY(auto url, parse_url(web.url()));
  asio::io_context io{1};
  Result<> result = fail(ErrorKind::timed_out, "no answer in time");
  asio::co_spawn(
      io,
      converse(std::move(url), web.ca_file(), console::json_text(event, console::JsonLayout::line)),
      [&](const std::exception_ptr& failed, unsigned status) {
        if (!failed) {
          result = Result<>{};
          if (status < 200 || status > 299) result = fail(ErrorKind::io, "status {}", status);
          return;
        }
        try {
          std::rethrow_exception(failed);
        } catch (const std::exception& error) {
          result = fail(ErrorKind::unavailable, "{}", error.what());
        }
      });
  while (bounds.last() && !io.stopped()) io.run_for(limits::hook_poll);
  return result;
}

}  // namespace

Result<> attempt_hook(const config::Hook& hook, const control::Event& event,
                      const std::function<bool()>& ended) {
  const Bounds bounds{now() + seconds{hook.timeout_s()}, ended};
  if (hook.has_exec()) return run_program(hook.exec(), event, bounds);
  return call_web(hook.webhook(), event, bounds);
}

std::string hook_name(const config::Hook& hook) {
  if (hook.has_exec()) return "exec " + hook.exec().command(0);
  return "webhook " + hook.webhook().url();
}

}  // namespace understudy::failover
