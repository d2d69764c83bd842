// Records that are neither encrypted nor authenticated: a checksum (XXH3-128 of header and payload)
// stands where the tag of an AEAD would. It finds damage, not malice.
#pragma once

#include <memory>

#include "replication/security.hpp"

namespace understudy::replication {

[[nodiscard]] std::unique_ptr<RecordSealer> make_checksum_sealer();
[[nodiscard]] std::unique_ptr<RecordOpener> make_checksum_opener();

}  // namespace understudy::replication
