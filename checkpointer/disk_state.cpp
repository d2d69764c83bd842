#include "checkpointer/disk_state.hpp"

#include <array>
#include <filesystem>
#include <utility>

#include "config/limits.hpp"

namespace understudy::checkpointer {
namespace {

constexpr std::array<std::pair<ImageState, std::string_view>, 3> words{
    std::pair{ImageState::active, std::string_view{"active"}},
    std::pair{ImageState::incomplete, std::string_view{"incomplete"}},
    std::pair{ImageState::replica, std::string_view{"replica"}}};

}  // namespace

DiskState::DiskState(const std::string& directory, std::string guest)
    : guest_{std::move(guest)},
      stem_{directory + "/disks/" + guest_},
      file_{stem_ + ".state", "understudy disks 1", limits::disk_state_file_bytes} {}

Result<ImageState> DiskState::load() const {
  const auto found = file_.load();
  if (found && !*found) return ImageState::unknown;
  for (const auto& [state, word] : words) {
    if (found && **found == word) return state;
  }
  return fail(ErrorKind::invalid,
              "{} does not say what the disk images of guest {} are worth; protect the guest to "
              "this host again, or remove the file to trust them as they are",
              file_.path(), guest_);
}

Result<> DiskState::save(ImageState state) const {
  const auto directory = std::filesystem::path{file_.path()}.parent_path();
  std::error_code code;
  std::filesystem::create_directories(directory, code);
  if (code) return fail_errno(directory.string(), code.value());
  for (const auto& [known, word] : words) {
    if (known == state) return file_.save(word);
  }
  return fail(ErrorKind::invalid, "no state to save");
}

Result<> DiskState::may_start() const {
  UNDERSTUDY_TRY(const auto state, load());
  switch (state) {
    case ImageState::unknown:
    case ImageState::active: return {};
    case ImageState::incomplete:
      return fail(ErrorKind::conflict,
                  "the disk images of guest {0} on this host are incomplete: a synchronisation to "
                  "it, or an import, did not end. Import the guest again, or start it on the host "
                  "where it ran last and protect it to this one; to boot from them nevertheless: "
                  "understudy start {0} --accept-disks",
                  guest_);
    case ImageState::replica:
      return fail(ErrorKind::conflict,
                  "the disk images of guest {0} on this host are a replica: whole, but the guest "
                  "ran last on another host and may have written more there. Start it there; to "
                  "boot from these nevertheless: understudy start {0} --accept-disks",
                  guest_);
  }
  return {};
}

}  // namespace understudy::checkpointer
