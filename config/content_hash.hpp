// XXH3-128 of bytes: against torn writes, decay and mistakes, not against malice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

struct XXH3_state_s;

namespace understudy {

class ContentHash {
 public:
  static constexpr std::size_t bytes = 16;

  ContentHash();
  void add(std::span<const std::byte> more);
  /// Of all so far, in xxHash's canonical order: the same on every host.
  [[nodiscard]] std::string digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

[[nodiscard]] std::string content_hash(std::span<const std::byte> bytes);
/// With a seed that nobody can guess, equal digests of different bytes cannot be made on purpose.
[[nodiscard]] std::string content_hash(std::span<const std::byte> bytes, std::uint64_t seed);

}  // namespace understudy
