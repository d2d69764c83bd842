// A relay between a primary and a backup that can be cut, frozen and pointed elsewhere.
#pragma once

#include <array>
#include <future>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include "config/names.hpp"

namespace understudy::replication {

/// Its own thread; the verbs may be called from any other.
class TcpRelay {
 public:
  explicit TcpRelay(const Endpoint& target) : target_{to_asio(target)} {
    accept();
    thread_ = std::thread{[this] { io_.run(); }};
  }
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;
  ~TcpRelay() {
    io_.stop();
    thread_.join();
  }

  [[nodiscard]] Endpoint endpoint() const { return {"127.0.0.1", port_}; }

  /// Closes every connection, whatever is under way; they are closed when it returns.
  void cut() {
    std::promise<void> done;
    boost::asio::post(io_, [this, &done] {
      close_all();
      done.set_value();
    });
    done.get_future().wait();
  }
  /// From now on nothing is carried, and nothing closed.
  void freeze() {
    boost::asio::post(io_, [this] { frozen_ = true; });
  }
  /// In what the backup is told next.
  void flip_a_bit() {
    boost::asio::post(io_, [this] { flip_ = true; });
  }
  /// From now on, whole in what is carried at once.
  void look_for(const std::string& text) {
    boost::asio::post(io_, [this, text] { wanted_ = text; });
  }
  [[nodiscard]] bool found() {
    std::promise<bool> answer;
    boost::asio::post(io_, [this, &answer] { answer.set_value(found_); });
    return answer.get_future().get();
  }
  void retarget(const Endpoint& target) {
    boost::asio::post(io_, [this, at = to_asio(target)] {
      target_ = at;
      close_all();
    });
  }

 private:
  using tcp = boost::asio::ip::tcp;
  struct Pair {
    explicit Pair(boost::asio::io_context& io) : near{io}, far{io} {}
    tcp::socket near;
    tcp::socket far;
    std::array<std::array<char, 65536>, 2> chunk{};
    void close() {
      boost::system::error_code ignored;
      near.close(ignored);
      far.close(ignored);
    }
  };

  static tcp::endpoint to_asio(const Endpoint& at) {
    return {boost::asio::ip::make_address_v4(at.address), at.port};
  }

  void close_all() {
    for (const auto& pair : pairs_) pair->close();
    pairs_.clear();
  }

  void accept() {
    auto pair = std::make_shared<Pair>(io_);
    acceptor_.async_accept(pair->near, [this, pair](const auto& error) {
      if (error) return;
      boost::system::error_code code;
      pair->far.connect(target_, code);
      if (code) {
        pair->close();
      } else {
        pairs_.insert(pair);
        carry(pair, pair->near, pair->far, pair->chunk[0]);
        carry(pair, pair->far, pair->near, pair->chunk[1]);
      }
      accept();
    });
  }

  void carry(const std::shared_ptr<Pair>& pair, tcp::socket& from, tcp::socket& to,
             std::array<char, 65536>& chunk) {
    from.async_read_some(
        boost::asio::buffer(chunk), [this, pair, &from, &to, &chunk](const auto& error, auto got) {
          if (frozen_) return;
          if (error) return pair->close();
          if (&to == &pair->far) meddle(std::span{chunk}.first(got));
          boost::asio::async_write(to, boost::asio::buffer(chunk.data(), got),
                                   [this, pair, &from, &to, &chunk](const auto& failed, auto) {
                                     if (frozen_) return;
                                     if (failed) return pair->close();
                                     carry(pair, from, to, chunk);
                                   });
        });
  }

  void meddle(std::span<char> bytes) {
    found_ = found_ || (!wanted_.empty() && std::string_view{bytes.data(), bytes.size()}.find(
                                                wanted_) != std::string_view::npos);
    if (std::exchange(flip_, false)) bytes.back() ^= 1;
  }

  boost::asio::io_context io_{1};
  tcp::endpoint target_;
  tcp::acceptor acceptor_{io_, {boost::asio::ip::make_address_v4("127.0.0.1"), 0}};
  std::uint16_t port_{acceptor_.local_endpoint().port()};
  std::set<std::shared_ptr<Pair>> pairs_;
  bool frozen_{};
  bool flip_{};
  std::string wanted_;
  bool found_{};
  std::thread thread_;
};

}  // namespace understudy::replication
