// Numbers in the headers of frames and packets: little-endian, at fixed places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::replication {

template <class T>
void put(std::span<std::byte> bytes, std::size_t at, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    bytes[at + i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
}

template <class T>
[[nodiscard]] T get(std::span<const std::byte> bytes, std::size_t at) {
  std::uint64_t value{};
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  }
  return static_cast<T>(value);
}

}  // namespace understudy::replication
