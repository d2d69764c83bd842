#include "replication/datagram_inbox.hpp"

#include <utility>

namespace understudy::replication {

void DatagramInbox::push(DatagramPointer datagram) {
  const std::lock_guard lock{mutex_};
  if (waiting_.size() >= most_) return;
  waiting_.push_back(std::move(datagram));
  if (wake_ && !std::exchange(woken_, true)) wake_();
}

DatagramPointer DatagramInbox::take() {
  const std::lock_guard lock{mutex_};
  if (waiting_.empty()) {
    woken_ = false;
    return nullptr;
  }
  auto datagram = std::move(waiting_.front());
  waiting_.pop_front();
  return datagram;
}

void DatagramInbox::attach(Wake wake) {
  const std::lock_guard lock{mutex_};
  wake_ = std::move(wake);
  woken_ = !waiting_.empty();
  if (woken_) wake_();
}

void DatagramInbox::detach() {
  const std::lock_guard lock{mutex_};
  wake_ = nullptr;
}

}  // namespace understudy::replication
