// What a simulated guest is: a register that it serves to clients over connections which it
// remembers, and a count of all that it has done.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "register_history.hpp"

namespace understudy::sim {

/// A state of the guest: a count on a line of history.
struct Point {
  std::uint32_t line{};
  std::uint32_t count{};
  friend bool operator==(const Point&, const Point&) = default;
};

inline constexpr std::size_t register_clients = 3;

/// Numbered by each client from 1, one after another; said again until it is answered.
struct Request {
  std::size_t client{};
  std::uint32_t number{};
  std::optional<RegisterHistory::Value> write{};  ///< none: it reads
};

/// What leaves the guest: an answer, or a sign of life.
struct Packet {
  Point at;
  std::uint32_t client{register_clients};  ///< this one: to nobody
  std::uint32_t number{};
  RegisterHistory::Value value{};
};

struct GuestState {
  struct Connection {
    std::uint32_t number{};  ///< of the last request
    RegisterHistory::Value answer{};
  };

  Point at;
  RegisterHistory::Value value{};
  std::array<Connection, register_clients> connections{};

  /// Goes on by one step, in which a request may have come. What it has done already it does not
  /// do again, but answers again.
  Packet live(const std::optional<Request>& request) {
    ++at.count;
    if (!request) return {.at = at};
    auto& connection = connections.at(request->client);
    if (request->number == connection.number + 1) {
      if (request->write) value = *request->write;
      connection = {request->number, value};
    }
    if (request->number != connection.number) return {.at = at};
    return {at, static_cast<std::uint32_t>(request->client), connection.number, connection.answer};
  }
};

}  // namespace understudy::sim
