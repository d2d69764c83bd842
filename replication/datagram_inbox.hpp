// Datagrams on their way from whoever reads a port to a link's thread. Bounded; wakes the link once
// per burst.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "replication/datagram_port.hpp"

namespace understudy::replication {

/// Thread-safe.
class DatagramInbox {
 public:
  /// Must only hand over to a thread.
  using Wake = std::function<void()>;

  explicit DatagramInbox(std::size_t most) : most_{most} {}

  /// Full: dropped, as the network might have done.
  void push(DatagramPointer datagram);

  /// The oldest; nullptr: none, and the next one will wake.
  [[nodiscard]] DatagramPointer take();

  /// Whoever takes from now on; woken at once if something is there.
  void attach(Wake wake);
  /// `wake` is not called any more when it has returned.
  void detach();

 private:
  const std::size_t most_;
  std::mutex mutex_;
  std::deque<DatagramPointer> waiting_;
  Wake wake_;
  bool woken_{};
};

}  // namespace understudy::replication
