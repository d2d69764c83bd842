// A peer without the key that may say anything, first or in answer to us: never done, never more
// heard than is allowed. The input is {side, piece length, bytes}.
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "config/assert.hpp"
#include "config/unique_fd.hpp"
#include "fuzz_key.hpp"
#include "fuzz_targets.hpp"

namespace understudy::replication {

std::shared_ptr<const Credentials> fuzz_key() {
  static const auto key = [] {
    std::string path{"/tmp/understudy-fuzz-XXXXXX"};
    const UniqueFd file{::mkstemp(path.data())};
    const std::string bytes(limits::shared_key_bytes, 'f');
    UNDERSTUDY_ASSERT(
        ::write(file.get(), bytes.data(), bytes.size()) == static_cast<::ssize_t>(bytes.size()),
        "a file for the key");
    auto loaded = Credentials::load(path);
    ::unlink(path.c_str());
    return loaded.value();
  }();
  return key;
}

void fuzz_handshake(std::span<const std::byte> input) {
  if (input.size() < 2) return;
  const auto side =
      (input[0] & std::byte{1}) == std::byte{} ? HandshakeSide::client : HandshakeSide::server;
  const auto piece = 1 + std::to_integer<std::size_t>(input[1]);
  auto bytes = input.subspan(2);
  const auto handshake = Handshake::begin(fuzz_key(), side).value();
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    if (!handshake->on_bytes(part)) {
      UNDERSTUDY_ASSERT(!handshake->on_bytes(part), "an error is the end");
      break;
    }
  }
  UNDERSTUDY_ASSERT(!handshake->done(), "nobody is let in without the key");
  UNDERSTUDY_ASSERT(handshake->take_output().size() <= limits::handshake_bytes,
                    "an answer is no amplifier");
}

}  // namespace understudy::replication
