#include "hypervisor/fingerprint.hpp"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>

namespace understudy::hypervisor {
namespace {

using WordSet = std::set<std::string>;

WordSet words_of(const std::string& text) {
  std::istringstream stream{text};
  return {std::istream_iterator<std::string>{stream}, {}};
}

std::string missing_in(const WordSet& here, const WordSet& there) {
  std::vector<std::string> missing;
  std::set_difference(here.begin(), here.end(), there.begin(), there.end(),
                      std::back_inserter(missing));
  return missing.empty() ? "none" : fmt::format("{}", fmt::join(missing, " "));
}

Result<std::string> digest(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) return fail_errno(fmt::format("boot file {}", path));
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free};
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<char> chunk(1U << 20U);
  while (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), file.gcount() > 0) {
    EVP_DigestUpdate(context.get(), chunk.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) return fail(ErrorKind::io, "boot file {} cannot be read", path);
  std::array<unsigned char, EVP_MAX_MD_SIZE> value{};
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), value.data(), &size);
  return fmt::format("{:02x}", fmt::join(value.begin(), value.begin() + size, ""));
}

}  // namespace

std::vector<std::string> differences(const Fingerprint& ours, const Fingerprint& theirs) {
  std::vector<std::string> found;
  const auto compare = [&](const char* what, const std::string& here, const std::string& there,
                           const char* remedy) {
    if (here != there)
      found.push_back(fmt::format("{} is {} here, {} there; {}", what, here, there, remedy));
  };
  compare("the hypervisor", ours.hypervisor, theirs.hypervisor,
          "install the same version on both hosts");
  compare("the machine type", ours.machine, theirs.machine,
          "set guest.machine to one that both have");
  compare("the CPU model", ours.cpu, theirs.cpu, "set guest.cpu to the same model");
  compare("the accelerator", ours.accelerator, theirs.accelerator,
          "set guest.accelerator so that both can");
  if (ours.cpu_features != theirs.cpu_features) {
    const auto here = words_of(ours.cpu_features);
    const auto there = words_of(theirs.cpu_features);
    found.push_back(
        fmt::format("the hosts' CPUs differ: only here {}; only there {}; set guest.cpu to a named "
                    "model that both can run",
                    missing_in(here, there), missing_in(there, here)));
  }
  if (ours.boot_digests != theirs.boot_digests) {
    found.emplace_back("kernel or initrd differ in contents; copy the same files to both hosts");
  }
  return found;
}

Result<std::vector<std::string>> digest_boot_files(const config::Boot& boot) {
  std::vector<std::string> digests;
  for (const auto& path : {boot.kernel(), boot.initrd()}) {
    if (path.empty()) continue;
    UNDERSTUDY_TRY(digests.emplace_back(), digest(path));
  }
  return digests;
}

}  // namespace understudy::hypervisor
