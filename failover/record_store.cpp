#include "failover/record_store.hpp"

#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "config/limits.hpp"
#include "config/log.hpp"

namespace understudy::failover {

RecordStore::RecordStore(const std::string& directory)
    : file_{directory + "/record", "understudy record 1", limits::record_file_bytes} {}

Result<RecordStore> RecordStore::open(const std::string& directory) {
  std::error_code code;
  std::filesystem::create_directories(directory, code);
  if (!code) {
    std::filesystem::permissions(directory, std::filesystem::perms::owner_all, code);
  }
  if (code || ::access(directory.c_str(), W_OK | X_OK) != 0) {
    return fail(ErrorKind::io,
                "state_dir {} cannot be written ({}): who may run a guest must be remembered there",
                directory, code ? code.message() : std::strerror(errno));
  }
  return RecordStore{directory};
}

peer::Memory RecordStore::load() {
  peer::Memory memory;
  const auto body = file_.load();
  if (body && !*body) return memory;
  if (body && memory.ParseFromString(**body)) {
    stored_ = **body;
    return memory;
  }
  log::error("record.damaged", {log::kv("why", body ? "it makes no sense" : body.error().message)});
  memory.Clear();
  memory.set_damaged(true);
  return memory;
}

Result<> RecordStore::save(const peer::Memory& memory) {
  auto body = memory.SerializeAsString();
  if (body == stored_) return {};
  UNDERSTUDY_CHECK(file_.save(body));
  stored_ = std::move(body);
  return {};
}

}  // namespace understudy::failover
