// A key for fuzz targets, made once.
#pragma once

#include <memory>

#include "replication/security.hpp"

namespace understudy::replication {

[[nodiscard]] std::shared_ptr<const Credentials> fuzz_key();

}  // namespace understudy::replication
