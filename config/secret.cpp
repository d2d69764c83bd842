#include "config/secret.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "config/unique_fd.hpp"

namespace understudy {
namespace {

std::string remedy(const Secret::Source& source) {
  std::string text{source.how_to_make};
  constexpr std::string_view place = "FILE";
  for (auto at = text.find(place); at != std::string::npos;
       at = text.find(place, at + source.file.size()))
    text.replace(at, place.size(), source.file);
  return text;
}

Result<> examine(const Secret::Source& source, const struct stat& facts) {
  if (!S_ISREG(facts.st_mode))
    return fail(ErrorKind::invalid, "{} {}: is no file", source.what, source.file);
  if ((facts.st_mode & (S_IRWXG | S_IRWXO)) == 0) return {};
  return fail(ErrorKind::invalid,
              "{} {}: others than its owner may use it (mode {:o}), so it may be known to them; "
              "chmod 600 {}, or if in doubt {}",
              source.what, source.file, facts.st_mode & 07777U, source.file, remedy(source));
}

}  // namespace

Secret::~Secret() {
  if (!bytes_.empty()) ::explicit_bzero(bytes_.data(), bytes_.size());
}

Result<Secret> Secret::load(const Source& source) {
  const auto named = fmt::format("{} {}", source.what, source.file);
  // Not blocking: a pipe by that name must not stop the daemon's start.
  const UniqueFd fd{::open(source.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd && errno == ENOENT)
    return fail(ErrorKind::invalid, "{}: there is no such file; {}", named, remedy(source));
  if (!fd) return fail_errno(named);
  struct stat facts {};
  if (::fstat(fd.get(), &facts) != 0) return fail_errno(named);
  UNDERSTUDY_CHECK(examine(source, facts));

  Secret secret{std::vector<std::byte>(source.bytes_max + 1)};
  auto& bytes = secret.bytes_;
  std::size_t have = 0;
  while (have < bytes.size()) {
    const auto got = ::read(fd.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0) return fail_errno(named);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  if (have > source.bytes_max) {
    return fail(ErrorKind::limit, "{}: larger than {} bytes; is it the right file?", named,
                source.bytes_max);
  }
  if (have < source.bytes) {
    return fail(ErrorKind::invalid, "{}: holds {} bytes, and {} are the least; {}", named, have,
                source.bytes, remedy(source));
  }
  bytes.resize(have);
  return secret;
}

}  // namespace understudy
