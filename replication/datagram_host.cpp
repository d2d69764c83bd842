#include "replication/datagram_host.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/log.hpp"
#include "replication/checksum_records.hpp"
#include "replication/datagram_link.hpp"
#include "replication/little_endian.hpp"
#include "replication/random_number.hpp"

namespace understudy::replication {
namespace {

constexpr int asked_where_it_was = 2;  // before every host is asked

/// What a question says: names have no zero in them.
std::string question(const std::string& cluster, const std::string& host) {
  return cluster + '\0' + host;
}

bool genuine(const Packet& packet) {
  const auto opener = make_checksum_opener();
  static_cast<void>(opener->begin(0, packet.header_bytes));
  opener->next(packet.payload, packet.payload);
  return opener->finish(packet.tag).has_value();
}

/// From somebody who has never heard anything of us.
bool opens(const PacketHeader& header) {
  return header.kind == PacketKind::data && !header.answering && !header.sealed &&
         header.acked == SegmentNumber{} && header.newest == PacketNumber{};
}

/// Of this process.
Voucher random_secret() {
  Voucher secret{};
  put(secret, 0, random_number());
  put(secret, sizeof(std::uint64_t), random_number());
  return secret;
}

}  // namespace

class DatagramHost::HostListener final : public Listener {
 public:
  HostListener(DatagramHost& host, asio::io_context& io, Endpoint at, Arrived arrived)
      : host_{host},
        io_{io},
        at_{std::move(at)},
        arrived_{std::make_shared<Arrived>(std::move(arrived))} {}
  ~HostListener() override {
    const std::lock_guard lock{host_.mutex_};
    if (host_.listener_ == this) host_.listener_ = nullptr;
  }
  HostListener(const HostListener&) = delete;
  HostListener& operator=(const HostListener&) = delete;

  [[nodiscard]] Endpoint endpoint() const override { return at_; }

  /// Under the host's mutex.
  void offer(std::unique_ptr<Connection> connection) {
    asio::post(io_, [arrived = std::weak_ptr{arrived_}, given = std::move(connection)]() mutable {
      if (const auto call = arrived.lock()) (*call)(std::move(given));
    });
  }

 private:
  DatagramHost& host_;
  asio::io_context& io_;
  Endpoint at_;
  std::shared_ptr<Arrived> arrived_;
};

class DatagramHost::HostDialer final : public Dialer {
 public:
  HostDialer(DatagramHost& host, asio::io_context& io, std::string peer)
      : host_{host}, io_{io}, peer_{std::move(peer)} {}
  ~HostDialer() override { end(); }
  HostDialer(const HostDialer&) = delete;
  HostDialer& operator=(const HostDialer&) = delete;

  void dial(Done done) override {
    end();
    attempt_ = std::make_shared<Attempt>(io_, std::move(done));
    host_.expect(attempt_->id,
                 [this, &io = io_, mine = std::weak_ptr{attempt_}](const Answer& answer) {
                   asio::post(io, [this, mine, answer] { heard(mine, answer); });
                 });
    ask();
  }
  void cancel() override { end(); }

 private:
  struct Attempt {
    Attempt(asio::io_context& io, Done whom) : done{std::move(whom)}, timer{io} {}
    Done done;
    asio::steady_timer timer;
    ConnectionId id{random_number()};
    TimePoint begun{now()};
    int asked{};
    std::optional<Answer> invitation{};
    std::optional<HostAddress> doubtful{};  ///< who answered, and has not shown our key
  };

  void end() {
    if (attempt_) host_.forget_question(attempt_->id);
    attempt_.reset();
  }

  void ask() {
    const auto known = host_.address_of(peer_);
    const bool there = known && attempt_->asked++ < asked_where_it_was;
    if (const auto& invitation = attempt_->invitation) {
      host_.knock(attempt_->id, *invitation);
    } else {
      host_.ask(attempt_->id, peer_, there ? *known : every_host);
    }
    attempt_->timer.expires_after(limits::ask_retry);
    attempt_->timer.async_wait(
        [this, mine = std::weak_ptr{attempt_}](const boost::system::error_code& cancelled) {
          if (!cancelled && !mine.expired()) ask_again();
        });
  }

  void ask_again() {
    const auto waited = now() - attempt_->begun;
    // Nobody shows our key. Whoever answered may be the host, under another key or none, and a
    // handshake will tell both; but one that had the key before is waited for.
    if (attempt_->doubtful && !attempt_->invitation && waited >= limits::ask_patience &&
        !host_.address_of(peer_)) {
      return start(*attempt_->doubtful);
    }
    if (waited < limits::link_connect) return ask();
    const auto done = std::move(attempt_->done);
    end();
    done(fail(ErrorKind::unavailable,
              "host {} does not answer on the {} network of host {}; is understudyd running there, "
              "with the same cluster name, the same key and {} configured, and are both on one "
              "network segment?",
              peer_, host_.name(), host_.plan_.host, host_.name()));
  }

  /// The weak pointer is dead when the attempt was cancelled, and this dialer may be gone, too.
  void heard(const std::weak_ptr<Attempt>& mine, const Answer& answer) {
    const auto attempt = mine.lock();
    if (!attempt || attempt != attempt_) return;
    if (!host_.keyed() || answer.kind == PacketKind::enter) {
      host_.remember(peer_, answer.from);
      return start(answer.from);
    }
    if (!answer.vouched) {
      attempt->doubtful = answer.from;
    } else if (!attempt->invitation) {
      attempt->invitation = answer;
      ask();
    }
  }

  void start(const HostAddress& address) {
    const auto attempt = attempt_;
    auto place = host_.table_.open({address, attempt->id, HandshakeSide::client}, Opening::ours);
    if (!place) return;
    end();
    attempt->timer.cancel();
    attempt->done(host_.connection(std::move(place)));
  }

  DatagramHost& host_;
  asio::io_context& io_;
  std::string peer_;
  std::shared_ptr<Attempt> attempt_;
};

DatagramHost::DatagramHost(Plan plan)
    : plan_{std::move(plan)},
      invitations_{plan_.security.vouch, random_secret()},
      table_{plan_.port->receive_room(),
             keyed() ? limits::unvouched_connections : limits::greeting_connections} {
  plan_.port->start(*this);
}

DatagramHost::~DatagramHost() {
  plan_.port->stop();
}

Result<std::unique_ptr<Listener>> DatagramHost::listen(asio::io_context& io, const Endpoint& at,
                                                       const std::string& this_host,
                                                       Listener::Arrived arrived) {
  auto listener = std::make_unique<HostListener>(*this, io, at, std::move(arrived));
  const std::lock_guard lock{mutex_};
  if (listener_ != nullptr) {
    return fail(ErrorKind::conflict, "host {} listens on {} already", this_host, plan_.name);
  }
  listener_ = listener.get();
  return listener;
}

std::unique_ptr<Dialer> DatagramHost::dialer(asio::io_context& io, const Endpoint& /*peer*/,
                                             const std::string& to_host) {
  return std::make_unique<HostDialer>(*this, io, to_host);
}

std::unique_ptr<Connection> DatagramHost::connection(std::unique_ptr<ConnectionPlace> place) {
  return std::make_unique<DatagramConnection>(*plan_.port, plan_.security, std::move(place));
}

// --- what comes

void DatagramHost::on_datagram(const HostAddress& from, DatagramPointer datagram) {
  const auto packet = decode_packet(datagram->bytes());
  if (!packet || from == plan_.port->address()) return;
  const auto& header = packet->header;
  if (header.kind == PacketKind::ask) return on_question(from, *packet);
  if (header.kind == PacketKind::knock) return on_knock(from, *packet);
  if (header.kind == PacketKind::here || header.kind == PacketKind::enter) {
    return on_answer(from, *packet);
  }
  const ConnectionKey key{from, header.connection,
                          header.answering ? HandshakeSide::client : HandshakeSide::server};
  if (const auto inbox = table_.find(key)) return inbox->push(std::move(datagram));
  on_stranger(key, std::move(datagram), *packet);
}

void DatagramHost::on_carrier(bool up) {
  log::info("replication.carrier", {log::kv("network", plan_.name), log::kv("up", up)});
}

void DatagramHost::on_question(const HostAddress& from, const Packet& packet) {
  const auto asked = question(plan_.cluster, plan_.host);
  if (!std::ranges::equal(packet.payload, std::as_bytes(std::span{asked})) || !genuine(packet)) {
    return;
  }
  {
    const std::lock_guard lock{mutex_};
    if (listener_ == nullptr) return;
  }
  const auto id = packet.header.connection;
  const PacketHeader here{.kind = PacketKind::here, .answering = true, .connection = id};
  if (!keyed()) return say(from, here, {});
  say_vouched(from, here, invitations_.make(from, id, now()));
}

/// Who knocks has the key, and has it now: there is a place for it whatever others do.
void DatagramHost::on_knock(const HostAddress& from, const Packet& packet) {
  const auto id = packet.header.connection;
  const ConnectionKey key{from, id, HandshakeSide::server};
  if (packet.header.answering || !shows_key(from, packet) ||
      !invitations_.good(packet.payload, from, id, now()) || table_.farewell(key)) {
    return;
  }
  if (!table_.find(key) && !offer(key, Opening::vouched, nullptr)) return;
  say_vouched(from, {.kind = PacketKind::enter, .answering = true, .connection = id}, {});
}

void DatagramHost::on_answer(const HostAddress& from, const Packet& packet) {
  const auto& header = packet.header;
  const std::lock_guard lock{mutex_};
  const auto found = questions_.find(header.connection);
  if (found == questions_.end() || !header.answering) return;
  Answer answer{
      .from = from, .kind = header.kind, .vouched = shows_key(from, packet), .ticket = {}};
  if (keyed() && !answer.vouched) {
    // Only the first: there may be thousands.
    if (header.kind == PacketKind::enter || std::exchange(found->second.doubted, true)) return;
  }
  if (packet.payload.size() == answer.ticket.size()) {
    std::ranges::copy(packet.payload, answer.ticket.begin());
  }
  found->second.heard(answer);
}

void DatagramHost::on_stranger(const ConnectionKey& key, DatagramPointer datagram,
                               const Packet& packet) {
  const auto& header = packet.header;
  if (const auto farewell = table_.farewell(key)) {
    if (header.kind == PacketKind::ack || header.kind == PacketKind::close) return;
    for (const auto& bytes : *farewell) {
      auto buffer = plan_.port->allocate();
      if (!buffer) return;
      std::ranges::copy(bytes, buffer->bytes().begin());
      plan_.port->send(key.peer, std::move(buffer), bytes.size());
    }
    return;
  }
  if (header.sealed) return answer_forgotten(key, header);
  if (!genuine(packet)) return;
  if (opens(header)) {
    return static_cast<void>(offer(key, Opening::unvouched, std::move(datagram)));
  }
  // One that speaks of what it has heard speaks to the process that was here before us.
  const bool asks = header.kind == PacketKind::data || header.kind == PacketKind::probe;
  if (!asks || (header.acked == SegmentNumber{} && header.newest == PacketNumber{})) return;
  say(key.peer,
      {.kind = PacketKind::close,
       .answering = !header.answering,
       .connection = key.id,
       .number = header.newest},
      {});
}

/// Its keys went with the process that was here before us. Without our word the peer would find out
/// by our silence.
void DatagramHost::answer_forgotten(const ConnectionKey& key, const PacketHeader& header) {
  const bool asks = header.kind == PacketKind::data || header.kind == PacketKind::probe;
  if (!asks || !keyed() || !gone_answers_.spend(now())) return;
  say_vouched(key.peer,
              {.kind = PacketKind::gone, .answering = !header.answering, .connection = key.id}, {});
}

/// False: nobody listens, or too many are waiting to be heard.
bool DatagramHost::offer(const ConnectionKey& key, Opening opening, DatagramPointer datagram) {
  const std::lock_guard lock{mutex_};
  if (listener_ == nullptr) return false;
  auto place = table_.open(key, opening);
  if (!place) return false;
  if (datagram) place->inbox().push(std::move(datagram));
  listener_->offer(connection(std::move(place)));
  return true;
}

bool DatagramHost::shows_key(const HostAddress& from, const Packet& packet) const {
  return vouched(plan_.security.vouch, from, plan_.port->address(), packet);
}

void DatagramHost::say_vouched(const HostAddress& to, PacketHeader header,
                               std::span<const std::byte> payload) {
  auto buffer = plan_.port->allocate();
  if (!buffer) return;
  header.number = PacketNumber{1};
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  const auto bytes = encode_packet_header(header);
  const auto tag = voucher_of(plan_.security.vouch, plan_.port->address(), to, bytes, payload);
  auto at = std::ranges::copy(bytes, buffer->bytes().begin()).out;
  at = std::ranges::copy(payload, at).out;
  std::ranges::copy(tag, at);
  plan_.port->send(to, std::move(buffer), limits::datagram_overhead + payload.size());
}

void DatagramHost::say(const HostAddress& to, PacketHeader header, std::string_view payload) {
  auto buffer = plan_.port->allocate();
  if (!buffer) return;
  header.number = PacketNumber{std::max<std::uint64_t>(header.number.value(), 1)};
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  const auto bytes = encode_packet_header(header);
  std::ranges::copy(bytes, buffer->bytes().begin());
  const std::array pieces{std::as_bytes(std::span{payload})};
  const auto rest =
      buffer->bytes().subspan(bytes.size(), payload.size() + limits::datagram_tag_bytes);
  make_checksum_sealer()->seal(header.number.value(), bytes, pieces, rest);
  plan_.port->send(to, std::move(buffer), limits::datagram_overhead + payload.size());
}

// --- who is where

void DatagramHost::expect(ConnectionId id, Heard heard) {
  const std::lock_guard lock{mutex_};
  questions_[id] = {std::move(heard), false};
}

void DatagramHost::ask(ConnectionId id, const std::string& host, const HostAddress& where) {
  say(where, {.kind = PacketKind::ask, .connection = id}, question(plan_.cluster, host));
}

void DatagramHost::knock(ConnectionId id, const Answer& invitation) {
  say_vouched(invitation.from, {.kind = PacketKind::knock, .connection = id}, invitation.ticket);
}

void DatagramHost::forget_question(ConnectionId id) {
  const std::lock_guard lock{mutex_};
  questions_.erase(id);
}

std::optional<HostAddress> DatagramHost::address_of(const std::string& host) const {
  const std::lock_guard lock{mutex_};
  const auto known = addresses_.find(host);
  return known == addresses_.end() ? std::nullopt : std::optional{known->second};
}

void DatagramHost::remember(const std::string& host, const HostAddress& address) {
  const std::lock_guard lock{mutex_};
  addresses_[host] = address;
}

}  // namespace understudy::replication
