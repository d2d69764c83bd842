// A guest's NICs behind one gate: output commit for a running guest, silence for a standby.
//
//     QEMU -- guest's port ---> egress queue --- release/open ---> uplink   (all NICs alike)
//          <------------------- at once, unless closed -----------
//
// One thread moves packets; it sleeps in epoll. The gate's verbs work on the caller's thread under
// the same lock: when `seal` returns, the ports have been drained; when `release` returns, the
// packets have been handed to the network; when `close` returns, none will be.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "config/result.hpp"
#include "config/unique_fd.hpp"
#include "netbuffer/guest_port.hpp"
#include "netbuffer/hold_times.hpp"
#include "netbuffer/mac_address.hpp"
#include "netbuffer/nic_path.hpp"
#include "netbuffer/output_gate.hpp"
#include "netbuffer/uplink.hpp"

namespace understudy::netbuffer {

struct GuestNic {
  std::unique_ptr<GuestPort> guest;
  MacAddress mac;  ///< the guest's
  std::unique_ptr<Uplink> uplink;
};

/// A copy of one that a guest's NIC was given.
struct GivenFrame {
  std::size_t nic;
  Epoch epoch;  ///< that ran then
  std::vector<std::byte> frame;
};

/// Called on the network's thread without its lock. They may use the gate, but must not stop the
/// network nor drop the last reference to it.
struct GuestNetworkEvents {
  /// While holding: the running epoch, the one after `sealed`, holds its first packet.
  std::function<void(Epoch sealed)> on_output;
  /// While holding, once for an epoch: it fills the room for held packets, and should end.
  std::function<void(Epoch sealed)> on_pressure{};
  /// Once: a NIC's port ended (QEMU died) or carries rubbish. What is held stays ruled by the
  /// gate.
  std::function<void(const Error&)> on_guest_gone;
  /// While holding: what the guest was given, in order; of an epoch at most
  /// limits::input_copy_bytes of a NIC's; the rest is not told of.
  std::function<void(std::span<const GivenFrame>)> on_input{};
};

class GuestNetwork : public OutputGate {
 public:
  /// Starts closed. `hold_bytes` per NIC, at least limits::packet_bytes.
  [[nodiscard]] static Result<std::shared_ptr<GuestNetwork>> start(std::vector<GuestNic> nics,
                                                                   std::size_t hold_bytes,
                                                                   GuestNetworkEvents events);
  ~GuestNetwork() override;
  GuestNetwork(const GuestNetwork&) = delete;
  GuestNetwork& operator=(const GuestNetwork&) = delete;

  void hold() override;
  void tighten() override;
  /// `Epoch{1}` begins a new protection; releases of the former one must have ended.
  void seal(Epoch epoch) override;
  void release(Epoch epoch) override;
  void open() override;
  void close() override;
  [[nodiscard]] GateStatus status() const override;

  /// A frame that the guest was given where it ran before, as if it came again, when its NIC takes
  /// it. Lost if there is no such NIC, or the gate closes.
  void give(std::size_t nic, std::span<const std::byte> frame);

  /// Tells the network where the guest is now: at once, and again at announcement_times, for as
  /// long as the gate is not closed.
  void announce();

  /// Closes for good, and waits for the thread. Idempotent; from one thread at a time.
  void stop();

 private:
  struct Watched;
  struct News {
    std::optional<Epoch> output;
    std::optional<Epoch> pressure;
    std::optional<Error> gone;
    std::vector<GivenFrame> input;
  };
  GuestNetwork(std::vector<GuestNic> nics, std::size_t hold_bytes, GuestNetworkEvents events);
  [[nodiscard]] Result<> prepare();

  // On the thread.
  void run();
  void tell(const News& news) const;

  // Under the lock.
  void handle(std::uint64_t token, std::uint32_t happened);
  void announce_again();
  void try_uplinks_again();
  void shut();
  [[nodiscard]] News collect_news();
  [[nodiscard]] bool has_news() const;
  /// Whether the running epoch should be told to end.
  [[nodiscard]] bool presses(const NicPath& path) const;
  void note_input(std::size_t nic);
  void take_egress(NicPath::Amount amount, TimePoint when);
  void start_holding();
  void settle();
  void watch(std::size_t nic);

  const GuestNetworkEvents events_;
  const std::size_t hold_bytes_;
  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd timer_;
  UniqueFd retry_;  ///< for uplinks that had no room

  mutable std::mutex mutex_;
  std::vector<Watched> nics_;
  std::vector<GivenFrame> input_;  ///< not told of yet
  GateState state_{GateState::closed};
  Epoch sealed_;
  HoldTimes hold_times_;
  std::size_t announced_{};
  bool output_told_{false};
  bool pressure_told_{false};
  bool gone_told_{false};
  bool stopping_{false};

  std::thread thread_;
};

}  // namespace understudy::netbuffer
