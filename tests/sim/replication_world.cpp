#include "replication_world.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "replication/control_frame.hpp"
#include "replication/receiver_session.hpp"
#include "replication/sender_machine.hpp"
#include "sim_link.hpp"
#include "toy_security.hpp"

namespace understudy::sim {
namespace {

using namespace replication;

constexpr std::size_t frames = 24;
constexpr std::uint64_t ram_bytes = 1U << 20U;
constexpr auto calm_after = seconds{12};  // of faults
constexpr auto patience = seconds{40};    // for all to arrive after that

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void broken(fmt::format_string<Args...> text, Args&&... args) {
  throw Failure{fmt::format(text, std::forward<Args>(args)...)};
}

std::string text_of(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (const auto byte : bytes) text += static_cast<char>(byte);
  return text;
}

class Replica final : public ReplicaEvents {
 public:
  Result<> on_sync_pages(std::span<const std::byte> payload) override {
    if (!epochs_.empty()) broken("synchronisation behind an epoch");
    synced_ += text_of(payload);
    return {};
  }
  Result<> on_check(std::span<const std::byte> /*payload*/) override { return {}; }
  Result<> on_check_seal(const Seal& /*seal*/) override { return {}; }
  void on_commit(const StagedEpoch& epoch) override {
    std::string content;
    for (const auto& payload : epoch.payloads) content += text_of(payload);
    epochs_.push_back(std::move(content));
    if (epoch.epoch.value() != epochs_.size()) broken("epoch {} out of order", epoch.epoch);
  }
  Reply on_request(const Request& request, const KeepGoing& /*keep_going*/) override {
    Reply reply;
    reply.set_id(request.id());
    return reply;
  }
  void on_end(const Error& reason) override { end_ = reason; }

  [[nodiscard]] const std::vector<std::string>& epochs() const { return epochs_; }
  [[nodiscard]] const std::string& synced() const { return synced_; }
  [[nodiscard]] const std::optional<Error>& end() const { return end_; }

 private:
  std::vector<std::string> epochs_;
  std::string synced_;
  std::optional<Error> end_;
};

class World;

/// Hears the hello of one connection and hands it to the session.
class Greeter final : public LinkEvents {
 public:
  explicit Greeter(World& world) : world_{world} {}
  std::span<std::byte> place(const FrameHeader& /*header*/) override { return payload_; }
  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override;
  void on_writable() override {}
  void on_down(Error reason) override;
  std::shared_ptr<SimLink> link;

 private:
  World& world_;
  std::array<std::byte, limits::frame_payload_bytes> payload_{};
};

class World final : public LinkEvents {
 public:
  World(std::uint64_t seed, const Spared& spared) : random_{seed} { choose(spared); }

  Verdict run() {
    Verdict verdict;
    try {
      connect();
      while (!done()) step();
      check_end();
    } catch (const Failure& failure) {
      verdict.failure = failure.what();
    }
    verdict.packets = network_.packets();
    verdict.resent = sender_.resent();
    verdict.connections = connections_;
    verdict.epochs = sent_.size();
    verdict.given_up = given_up_ ? 1 : 0;
    return verdict;
  }

  void greeted(const std::shared_ptr<SimLink>& link) {
    link->hand_over(session_);
    session_.adopt(link);
  }

  static void check_reason(const Error& reason) {
    if (reason.kind != ErrorKind::closed && reason.kind != ErrorKind::timed_out) {
      broken("a link ended: {}", reason.message);
    }
  }

 private:
  std::uint64_t roll(std::uint64_t sides) { return random_() % sides; }
  [[nodiscard]] TimePoint at() const { return network_.at(); }

  void choose(const Spared& spared) {
    faults_ = {.lost = roll(3) == 0 ? 0 : roll(301),
               .repeated = roll(2) == 0 ? 0 : roll(100),
               .late = roll(2) == 0 ? 0 : roll(300),
               .damaged = roll(2) == 0 ? 0 : roll(100),
               .no_buffer = roll(3) == 0 ? roll(200) : 0};
    if (spared.loss) faults_.lost = 0;
    if (spared.repetition) faults_.repeated = 0;
    if (spared.reordering) faults_.late = 0;
    if (spared.damage) faults_.damaged = 0;
    if (spared.no_buffers) faults_.no_buffer = 0;
    network_.set_faults(faults_);
    if (roll(2) == 0 && !spared.security) security_ = toy_security("a secret");
    write_gap_ = microseconds{500 + roll(200'000)};
    longest_ = 1 + roll(roll(4) == 0 ? 6000 : 600);
    flaps_ = roll(3);
    if (spared.flaps) flaps_ = 0;
    calm_at_ = at() + microseconds{roll(std::chrono::microseconds{calm_after}.count())};
    next_write_ = next_tick_ = next_flap_ = at();
  }

  [[nodiscard]] bool calm() const { return at() >= calm_at_; }
  [[nodiscard]] bool done() const {
    if (given_up_) return true;
    return calm() && part_ == 0 && sender_.committed().value() == sent_.size() &&
           replies_ == requests_ && replica_->synced().size() == synced_.size();
  }

  // --- time

  void step() {
    if (at() > calm_at_ + patience) {
      broken("after {} s of calm: epoch {} of {} committed, {} of {} requests answered",
             patience.count(), sender_.committed(), sent_.size(), replies_, requests_);
    }
    auto next = std::min({next_tick_, next_write_, next_flap_});
    if (const auto arrival = network_.next_arrival()) next = std::min(next, *arrival);
    for_each_link([&](SimLink& link) {
      if (const auto wake = link.wake_at()) next = std::min(next, *wake);
    });
    network_.advance(next);
    if (calm()) network_.set_faults({});
    network_.deliver(
        [this](Side to, DatagramPointer datagram) { arrived(to, std::move(datagram)); });
    for_each_link([&](SimLink& link) {
      if (const auto wake = link.wake_at(); wake && *wake <= at()) link.flush();
    });
    if (at() >= next_write_) write();
    if (at() >= next_tick_) tick();
    if (at() >= next_flap_) flap();
    pump();
    if (const auto& end = replica_->end()) give_up(*end);
  }

  template <class Do>
  void for_each_link(Do action) {
    if (near_) action(*near_);
    for (auto& [id, greeter] : far_) action(*greeter->link);
  }

  void arrived(Side to, DatagramPointer datagram) {
    if (to == Side::primary) {
      if (const auto link = near_) link->on_datagram(std::move(datagram));
      return;
    }
    const auto packet = decode_packet(datagram->bytes());
    if (!packet || packet->header.answering) return;
    const auto id = packet->header.connection.value();
    if (id > connections_ || id == 0) return;  // damaged; a host would see a stranger
    if (!far_.contains(id)) {
      if (id != connections_ || forgotten_ >= id) return;
      far_[id] = std::make_unique<Greeter>(*this);
      far_[id]->link = make_link(Side::backup, *far_[id]);
    }
    const auto link = far_[id]->link;
    link->on_datagram(std::move(datagram));
  }

  std::shared_ptr<SimLink> make_link(Side side, LinkEvents& events) {
    auto machine = DatagramMachine::begin(
        {.port = network_.port(side),
         .peer = network_.port(other(side)).address(),
         .connection = ConnectionId{connections_},
         .side = side == Side::primary ? HandshakeSide::client : HandshakeSide::server,
         .room = network_.port(side).receive_room(),
         .security = security_},
        at());
    if (!machine) broken("{}", machine.error().message);
    return std::make_shared<SimLink>(network_, std::move(*machine), events);
  }

  // --- the primary

  void connect() {
    ++connections_;
    near_ = make_link(Side::primary, *this);
    sender_.on_connected(at());
    Hello hello;
    if (!near_->send_copy(*encode_message(FrameType::hello, sender_.session(), hello))) {
      broken("a new link has no room for a hello");
    }
  }

  void drop_link() {
    if (near_) std::exchange(near_, nullptr)->close();
    sender_.on_down();
    reconnect_at_ = at() + limits::link_reconnect;
  }

  std::span<std::byte> place(const FrameHeader& /*header*/) override { return payload_; }

  void on_frame(const FrameHeader& header, std::span<const std::byte> payload) override {
    const auto outcome = sender_.on_frame(header, payload, at());
    if (!outcome) broken("the primary: {}", outcome.error().message);
    if (outcome->over) return give_up(*outcome->over);
    if (outcome->ping) static_cast<void>(near_->send_copy(encode_signal(FrameType::pong, id_)));
    if (outcome->reply && outcome->reply->id() == replies_ + 1) ++replies_;
    if (!outcome->committed) return;
    // Output of these epochs leaves now: the replica must hold them.
    for (auto& heard = heard_committed_; heard < outcome->committed->value(); ++heard) {
      if (replica_->epochs().size() <= heard || replica_->epochs()[heard] != sent_.at(heard)) {
        broken("epoch {} was committed, but the replica lacks it", heard + 1);
      }
    }
  }
  void on_writable() override { pump(); }
  void on_down(Error reason) override {
    check_reason(reason);
    drop_link();
  }

  void pump() {
    while (near_ && !near_->closed()) {
      const auto frame = sender_.next();
      if (!frame || !near_->send(*frame)) return;
      sender_.taken(at());
    }
  }

  /// The guest's next frame: synchronisation, then epochs and their seals, here and there a
  /// request.
  void write() {
    next_write_ = at() + (write_gap_ * static_cast<int>(roll(100))) / 50;
    if (calm() && part_ == 0) return;
    auto buffer = pool_->acquire({});
    if (!buffer) return;
    const Epoch epoch{sent_.size() + 1};
    // One at a time: only the last answer is said again on a new link.
    if (part_ == 0 && replies_ == requests_ && roll(10) == 0) {
      Request request;
      request.set_id(++requests_);
      return submit(std::move(*buffer), FrameType::request, epoch, request.SerializeAsString());
    }
    if (part_ > 0 && (calm() || roll(4) == 0)) {
      Seal seal;
      seal.set_frames(part_);
      seal.add_used_bytes(ram_bytes);
      submit(std::move(*buffer), FrameType::seal, epoch, seal.SerializeAsString());
      sent_.push_back(std::exchange(content_, {}));
      part_ = 0;
      return;
    }
    const std::string text(1 + roll(longest_), static_cast<char>('A' + roll(50)));
    if (sent_.empty() && part_ == 0 && roll(3) != 0) {
      synced_ += text;
      return submit(std::move(*buffer), FrameType::sync_pages, Epoch{}, text);
    }
    content_ += text;
    ++part_;
    submit(std::move(*buffer), FrameType::pages, epoch, text);
  }

  void submit(FrameBuffer buffer, FrameType type, Epoch epoch, const std::string& text) {
    std::ranges::copy(std::as_bytes(std::span{text}), buffer.room().begin());
    buffer.set_payload_bytes(text.size());
    sender_.submit(std::move(buffer), type, epoch);
  }

  void tick() {
    next_tick_ = at() + limits::link_tick;
    session_.tick();
    if (!near_) {
      if (at() >= reconnect_at_) connect();
      return;
    }
    const auto due = sender_.due(at());
    if (due == SenderMachine::Due::silent) return drop_link();
    if (due != SenderMachine::Due::ping) return;
    sender_.pinged(at());
    static_cast<void>(near_->send_copy(encode_signal(FrameType::ping, id_)));
  }

  // --- misfortune

  void flap() {
    next_flap_ = at() + milliseconds{200 + roll(4000)};
    if (calm() || flaps_ == 0) return;
    switch (roll(6)) {
      case 0: return network_.silence(Side::primary, at() + milliseconds{roll(4000)});
      case 1: return network_.silence(Side::backup, at() + milliseconds{roll(4000)});
      case 2: return lose_backups_links();
      case 3:
        if (near_) near_->vanish();
        return drop_link();
      case 4: return drop_link();
      default: return;
    }
  }

  /// As if the backup's network process had been restarted: nobody is told.
  void lose_backups_links() {
    for (auto& [id, greeter] : far_) {
      if (greeter->link->closed()) continue;
      greeter->link->vanish();
      session_.on_down({ErrorKind::closed, "restarted"});
    }
    forgotten_ = connections_;
  }

  void give_up(const Error& why) {
    // Ten seconds without a word: the only good reason.
    if (!replica_->end() || replica_->end()->kind != ErrorKind::timed_out) {
      broken("the session ended: {}", why.message);
    }
    if (flaps_ == 0) broken("the session ended although the network was never away");
    given_up_ = true;
  }

  void check_end() const {
    const auto& epochs = replica_->epochs();
    if (!std::equal(
            epochs.begin(), epochs.end(), sent_.begin(),
            sent_.begin() + static_cast<std::ptrdiff_t>(std::min(epochs.size(), sent_.size())))) {
      broken("the replica's epochs are not what was sent");
    }
    if (given_up_) return;
    if (epochs.size() != sent_.size()) broken("{} of {} epochs", epochs.size(), sent_.size());
    if (replica_->synced() != synced_) broken("the synchronisation is not what was sent");
  }

  std::mt19937_64 random_;
  SimNetwork network_{random_, datagram_bytes(random_), 4 + random_() % 60};
  Faults faults_;
  LinkSecurity security_;
  microseconds write_gap_{};
  std::uint64_t longest_{};
  std::uint64_t flaps_{};
  TimePoint calm_at_;
  TimePoint next_write_;
  TimePoint next_tick_;
  TimePoint next_flap_;
  TimePoint reconnect_at_;
  std::uint64_t connections_{};
  std::uint64_t forgotten_{};
  bool given_up_{};

  const SessionId id_{77};
  std::unique_ptr<FramePool> pool_ = std::move(FramePool::create(frames).value());
  SenderMachine sender_{id_};
  std::array<std::byte, limits::frame_payload_bytes> payload_{};
  std::shared_ptr<SimLink> near_;
  std::string synced_;
  std::vector<std::string> sent_;
  std::string content_;
  std::size_t part_{};
  std::size_t heard_committed_{};
  std::uint64_t requests_{};
  std::uint64_t replies_{};

  std::shared_ptr<Replica> replica_ = std::make_shared<Replica>();
  ReceiverSession session_{{.session = id_,
                            .block_bytes = {ram_bytes},
                            .staging = std::move(Mapping::anonymous(ram_bytes).value()),
                            .replica = replica_,
                            .clock = [this] { return at(); },
                            .ended = [] {},
                            .gone = [] {}}};
  std::map<std::uint64_t, std::unique_ptr<Greeter>> far_;

  static std::size_t datagram_bytes(std::mt19937_64& random) {
    constexpr std::array sizes{256UL, 256UL, 400UL, 1500UL, 1500UL, 9000UL, 61'000UL};
    return sizes[random() % sizes.size()];
  }
};

void Greeter::on_frame(const FrameHeader& /*header*/, std::span<const std::byte> /*payload*/) {
  world_.greeted(link);
}

void Greeter::on_down(Error reason) {
  World::check_reason(reason);
}

}  // namespace

Verdict run_replication(std::uint64_t seed, const Spared& spared) {
  return World{seed, spared}.run();
}

Verdict& Verdict::operator+=(const Verdict& other) {
  for (const auto count : {&Verdict::packets, &Verdict::resent, &Verdict::connections,
                           &Verdict::epochs, &Verdict::given_up})
    this->*count += other.*count;
  return *this;
}

std::string Verdict::text() const {
  return fmt::format("{} packets, {} connections, {} epochs; {} sessions given up", packets,
                     connections, epochs, given_up);
}

std::string minimised_replication(std::uint64_t seed) {
  constexpr std::array kinds{std::pair{&Spared::loss, "loss"},
                             std::pair{&Spared::repetition, "repetition"},
                             std::pair{&Spared::reordering, "reordering"},
                             std::pair{&Spared::damage, "damage"},
                             std::pair{&Spared::no_buffers, "want of buffers"},
                             std::pair{&Spared::flaps, "silence and restarts"},
                             std::pair{&Spared::security, "encryption"}};
  Spared spared;
  std::string needs;
  for (const auto& [kind, name] : kinds) {
    spared.*kind = true;
    if (!run_replication(seed, spared).failure.empty()) continue;
    spared.*kind = false;
    needs += fmt::format("{}{}", needs.empty() ? "" : ", ", name);
  }
  return "; it needs " + (needs.empty() ? "nothing but the seed" : needs);
}

}  // namespace understudy::sim
