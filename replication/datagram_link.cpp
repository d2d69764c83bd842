#include "replication/datagram_link.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>

#include "config/unique_fd.hpp"

namespace understudy::replication {
namespace {

/// So that a timer always owns the link, and a long wait is not measured once only.
constexpr auto longest_wait = seconds{1};

/// An owner that takes longer over a frame finds what came meanwhile taken in.
constexpr auto long_delivery = milliseconds{50};

/// What an owner only puts aside, or answers before he begins to work. With others he may be busy
/// for a while.
bool brief(FrameType type) {
  return type == FrameType::pages || type == FrameType::sync_pages || type == FrameType::disk ||
         type == FrameType::input || type == FrameType::seal || type == FrameType::ack ||
         type == FrameType::commit;
}

}  // namespace

class DatagramLink::Discard final : public LinkEvents {
 public:
  std::span<std::byte> place(const FrameHeader& /*header*/) override { return place_; }
  void on_frame(const FrameHeader& /*header*/, std::span<const std::byte> /*payload*/) override {}
  void on_writable() override {}
  void on_down(Error /*reason*/) override {}

 private:
  std::vector<std::byte> place_ = std::vector<std::byte>(limits::frame_payload_bytes);
};

// --- a connection

DatagramConnection::DatagramConnection(DatagramPort& port, LinkSecurity security,
                                       std::unique_ptr<ConnectionPlace> place)
    : port_{port}, security_{std::move(security)}, place_{std::move(place)} {}

DatagramConnection::DatagramConnection(DatagramPort& port, std::unique_ptr<DatagramMachine> machine,
                                       std::unique_ptr<ConnectionPlace> place)
    : port_{port}, place_{std::move(place)}, machine_{std::move(machine)} {}

DatagramConnection::~DatagramConnection() {
  if (place_ && machine_) place_->set_farewell(machine_->close());
}

std::shared_ptr<Link> DatagramConnection::start(asio::io_context& io, LinkEvents& events) {
  Result<std::unique_ptr<DatagramMachine>> machine{std::move(machine_)};
  if (!*machine) {
    machine = DatagramMachine::begin({.port = port_,
                                      .peer = place_->key().peer,
                                      .connection = place_->key().id,
                                      .side = place_->key().side,
                                      .room = place_->room(),
                                      .security = security_},
                                     now());
  }
  return DatagramLink::start(io, events, port_, std::move(machine), std::move(place_));
}

std::string DatagramConnection::peer() const {
  const auto& peer = place_->key().peer;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", peer[0], peer[1], peer[2],
                     peer[3], peer[4], peer[5]);
}

// --- its link

std::shared_ptr<DatagramLink> DatagramLink::start(asio::io_context& io, LinkEvents& events,
                                                  DatagramPort& port,
                                                  Result<std::unique_ptr<DatagramMachine>> machine,
                                                  std::unique_ptr<ConnectionPlace> place) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::shared_ptr<DatagramLink> link{new DatagramLink{
      io, events, port, machine ? std::move(*machine) : nullptr, std::move(place)}};
  if (!machine) link->broken_ = machine.error();
  link->place_->inbox().attach([&io, weak = link->weak_from_this()] {
    asio::post(io, [weak] {
      if (const auto self = weak.lock()) self->turn();
    });
  });
  link->open_bell();
  link->turn_soon();
  link->arm();
  return link;
}

DatagramLink::DatagramLink(asio::io_context& io, LinkEvents& events, DatagramPort& port,
                           std::unique_ptr<DatagramMachine> machine,
                           std::unique_ptr<ConnectionPlace> place)
    : io_{io},
      timer_{io},
      bell_{io},
      events_{events},
      port_{port},
      machine_{std::move(machine)},
      place_{std::move(place)} {}

DatagramLink::~DatagramLink() {
  if (!closed_) leave();
}

bool DatagramLink::accepts() const {
  return !closed_ && !finishing_ && !broken_ && machine_->accepts();
}

bool DatagramLink::send(std::span<const std::byte> frame) {
  if (!accepts()) {
    refused_ = true;
    return false;
  }
  if (lent_) {
    // There are more where this one comes from; others wait for theirs meanwhile.
    stop_listening();
    turn_soon();  // and listens again
  }
  machine_->send(frame);
  sent();
  return true;
}

bool DatagramLink::send_copy(std::span<const std::byte> frame) {
  if (!accepts()) return false;
  machine_->send_copy(frame);
  sent();
  if (delivering_) stop_listening();
  return true;
}

void DatagramLink::sent() {
  ++counters_.sent_frames;
  const auto at = now();
  if (delivering_ && at - *delivering_ >= long_delivery) absorb();
  machine_->flush(at);
  arm();
}

/// Acks must be heard, and given, also while the owner is busy with a frame.
void DatagramLink::absorb() {
  read();
  while (auto datagram = place_->inbox().take()) {
    const auto nothing = machine_->on_datagram(std::move(datagram), nullptr, now());
    if (nothing) continue;
    broken_ = nothing.error();
    return;
  }
}

void DatagramLink::turn_soon() {
  asio::post(io_, [self = shared_from_this()] { self->turn(); });
}

LinkEvents& DatagramLink::owner() {
  if (discard_) return *discard_;
  return events_;
}

/// A batch of datagrams at most, so that what else waits on this thread gets its turn.
void DatagramLink::turn() {
  if (closed_) return;
  if (!broken_) {
    machine_->set_room(place_->room());
    deliver_held();
  }
  for (std::size_t i = 0; i < limits::inbox_batch && !closed_ && !broken_; ++i) {
    read();  // each time, for others wait for what comes
    auto datagram = place_->inbox().take();
    if (!datagram) {
      settle_turn();
      return listen();
    }
    deliver(machine_->on_datagram(std::move(datagram), &owner(), now()));
    if (!closed_ && !broken_) deliver_held();
  }
  settle_turn();
  if (!closed_) turn_soon();
}

void DatagramLink::deliver(Result<std::optional<Frame>> frame) {
  if (!frame && !closed_) broken_ = frame.error();
  if (!frame || !*frame || closed_ || finishing_) return;
  if (!brief((*frame)->header.type)) stop_listening();
  delivering_ = now();
  events_.on_frame((*frame)->header, (*frame)->payload);
  const auto began = *std::exchange(delivering_, std::nullopt);
  if (!closed_ && now() - began >= long_delivery) machine_->answer_now(now());
}

void DatagramLink::deliver_held() {
  while (!closed_ && !broken_) {
    auto frame = machine_->next(owner());
    const bool last = frame && !*frame;
    deliver(std::move(frame));
    if (last) return;
  }
}

/// What follows from all that has come.
void DatagramLink::settle_turn() {
  if (closed_) return;
  if (broken_) return break_down(*broken_);
  machine_->flush(now());
  if (refused_ && machine_->half_free()) {
    refused_ = false;
    events_.on_writable();
  }
  if (!closed_) arm();
}

void DatagramLink::open_bell() {
  UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  boost::system::error_code refused;
  if (epoll) bell_.assign(epoll.get(), refused);
  if (bell_.is_open()) static_cast<void>(epoll.release());
}

void DatagramLink::listen() {
  if (closed_ || broken_ || finishing_ || !bell_.is_open()) return;
  if (!lent_) lent_ = port_.lend(bell_.native_handle());
  if (!lent_ || std::exchange(bell_awaited_, true)) return;
  bell_.async_wait(asio::posix::stream_descriptor::wait_read,
                   [self = shared_from_this()](const boost::system::error_code& cancelled) {
                     self->bell_awaited_ = false;
                     if (!cancelled) self->on_bell();
                   });
}

/// It may have rung before the port was given back.
void DatagramLink::on_bell() {
  if (lent_) turn();
}

void DatagramLink::read() {
  if (lent_) lent_ = port_.read_lent(bell_.native_handle());
}

void DatagramLink::stop_listening() {
  if (std::exchange(lent_, false)) port_.give_back(bell_.native_handle());
}

/// A wait that turns out too early costs a look; setting it anew for each packet would cost more.
void DatagramLink::arm() {
  if (closed_) return;
  const auto at = now();
  const auto wake = machine_ ? machine_->wake_at() : std::nullopt;
  const auto due = std::min(wake.value_or(at + longest_wait), at + longest_wait);
  if (armed_ && *armed_ <= due) return;
  armed_ = due;
  timer_.expires_at(due);
  timer_.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
    if (!cancelled) self->on_timer();
  });
}

void DatagramLink::on_timer() {
  armed_.reset();
  if (closed_) return;
  if (finishing_ && now() - *finishing_ >= limits::link_silence) {
    return break_down({ErrorKind::timed_out, "the peer does not close the connection"});
  }
  settle_turn();
}

void DatagramLink::finish() {
  if (closed_ || finishing_ || broken_) return;
  stop_listening();
  finishing_ = now();
  discard_ = std::make_unique<Discard>();
  machine_->end();
  machine_->flush(now());
  arm();
}

void DatagramLink::close() {
  if (std::exchange(closed_, true)) return;
  leave();
}

void DatagramLink::leave() {
  timer_.cancel();
  stop_listening();
  bell_.close();
  place_->inbox().detach();
  if (machine_) place_->set_farewell(machine_->close());
  place_.reset();
}

std::unique_ptr<Connection> DatagramLink::release() {
  if (closed_ || broken_ || finishing_ || !machine_->between_frames()) return nullptr;
  static_cast<void>(counters());
  closed_ = true;
  timer_.cancel();
  stop_listening();
  bell_.close();
  place_->inbox().detach();
  place_->settle();
  return std::make_unique<DatagramConnection>(port_, std::move(machine_), std::move(place_));
}

LinkCounters DatagramLink::counters() {
  if (machine_) {
    counters_.received_bytes = machine_->received_bytes();
    counters_.resent_packets = machine_->channel().resent();
  }
  return counters_;
}

void DatagramLink::break_down(Error reason) {
  if (closed_) return;
  close();
  events_.on_down(std::move(reason));
}

}  // namespace understudy::replication
