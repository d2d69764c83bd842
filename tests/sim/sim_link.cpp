#include "sim_link.hpp"

namespace understudy::sim {

using namespace replication;

bool SimLink::send(std::span<const std::byte> frame) {
  if (closed_ || !machine_->accepts()) {
    refused_ = true;
    return false;
  }
  machine_->send(frame);
  flush();
  return true;
}

bool SimLink::send_copy(std::span<const std::byte> frame) {
  if (closed_ || !machine_->accepts()) return false;
  machine_->send_copy(frame);
  flush();
  return true;
}

void SimLink::finish() {
  if (closed_) return;
  machine_->end();
  flush();
}

void SimLink::close() {
  if (std::exchange(closed_, true)) return;
  static_cast<void>(machine_->close());
}

/// Nobody asks: there is one thread.
std::unique_ptr<Connection> SimLink::release() {
  return nullptr;
}

void SimLink::flush() {
  if (!closed_) machine_->flush(network_.at());
}

std::optional<TimePoint> SimLink::wake_at() const {
  return closed_ ? std::nullopt : machine_->wake_at();
}

void SimLink::on_datagram(DatagramPointer datagram) {
  if (closed_) return;
  handle(machine_->on_datagram(std::move(datagram), events_, network_.at()));
  if (closed_) return;
  if (refused_ && machine_->half_free()) {
    refused_ = false;
    events_->on_writable();
  }
  flush();
}

void SimLink::handle(Result<std::optional<DatagramMachine::Frame>> frame) {
  while (true) {
    if (!frame) {
      close();
      return events_->on_down(frame.error());
    }
    if (*frame) events_->on_frame((*frame)->header, (*frame)->payload);
    if (closed_) return;
    const bool more = frame->has_value();
    frame = machine_->next(*events_);
    if (!more && frame && !*frame) return;
  }
}

}  // namespace understudy::sim
