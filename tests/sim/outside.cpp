#include "outside.hpp"

namespace understudy::sim {

GuestState Outside::on_new_line(GuestState state, const Line& line) {
  state.at.line = static_cast<std::uint32_t>(lines_.size());
  lines_.push_back(line);
  return state;
}

GuestState Outside::boot(TimePoint now) {
  check_register();
  history_ = {};
  clients_ = {};
  auto state = on_new_line({}, {{}, now, true});
  shown_ = state.at;
  return state;
}

GuestState Outside::branch(const GuestState& replica, TimePoint now) {
  return on_new_line(replica, {replica.at, now, false});
}

bool Outside::precedes(Point earlier, Point later) const {
  while (later.line != earlier.line) {
    if (lines_[later.line].boot) return false;
    later = lines_[later.line].from;
  }
  return earlier.count <= later.count;
}

std::optional<Request> Outside::request(Chances& chances) {
  const auto dice = chances.draw();
  const auto number = dice % register_clients;
  auto& client = clients_.at(number);
  if (client.waits) return client.request;
  if (dice / register_clients % 2 == 0) return std::nullopt;
  client.waits = true;
  client.request = {number, ++client.number};
  if (dice / register_clients / 2 % 2 == 0) {
    client.request.write = ++last_written_;
    client.operation = history_.write_begins(last_written_);
  } else {
    client.operation = history_.read_begins();
  }
  return client.request;
}

void Outside::show(const Packet& packet, TimePoint woke) {
  if (precedes(shown_, packet.at)) {
    shown_ = packet.at;
    return answer(packet);
  }
  if (!precedes(packet.at, shown_)) return complain("two hosts show the guest to the outside");
  auto line = shown_.line;
  if (line != packet.at.line) {
    while (lines_[line].from.line != packet.at.line) line = lines_[line].from.line;
    if (lines_[line].since < woke) complain("a deposed host wakes up and shows the guest");
  }
  answer(packet);
}

void Outside::answer(const Packet& packet) {
  if (packet.client == register_clients) return;
  auto& client = clients_.at(packet.client);
  if (!client.waits || packet.number != client.number) return;  // it is told again
  client.waits = false;
  ++answers_;
  if (client.request.write) {
    history_.write_ends(client.operation);
  } else {
    history_.read_ends(client.operation, packet.value);
  }
}

void Outside::check_register() {
  const auto complaint = history_.complaint();
  if (!complaint.empty()) complain(complaint);
}

}  // namespace understudy::sim
