#include "hypervisor/fingerprint.hpp"

#include <unistd.h>

#include <fstream>

#include <catch2/catch.hpp>

#include "hypervisor/accelerator.hpp"

using namespace understudy;
using namespace understudy::hypervisor;
using Catch::Matchers::Contains;

TEST_CASE("equal fingerprints have no differences; others are told with a remedy") {
  const Fingerprint ours{"QEMU 7.2.22", "pc-i440fx-7.2", "max", "KVM", "avx avx2 sse", {"aa"}};
  CHECK(differences(ours, ours).empty());
  auto theirs = ours;
  theirs.hypervisor = "QEMU 8.0.0";
  theirs.cpu_features = "avx sse sse4a";
  theirs.boot_digests = {"bb"};
  const auto found = differences(ours, theirs);
  REQUIRE(found.size() == 3);
  CHECK_THAT(found[0], Contains("QEMU 7.2.22 here, QEMU 8.0.0 there") && Contains("install"));
  CHECK_THAT(found[1], Contains("only here avx2; only there sse4a"));
  CHECK_THAT(found[2], Contains("copy the same files"));
}

TEST_CASE("boot files are digested with SHA-256") {
  const std::string path = "/tmp/understudy-digest-" + std::to_string(::getpid());
  std::ofstream{path} << "abc";
  config::Boot boot;
  boot.set_kernel(path);
  const auto digests = digest_boot_files(boot);
  REQUIRE(digests);
  CHECK(digests->front() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  ::unlink(path.c_str());
  CHECK_THAT(digest_boot_files(boot).error().message, Contains(path));
}

TEST_CASE("an accelerator is always found, and TCG never needs a probe") {
  CHECK(choose_accelerator(config::TCG)->accelerator == config::TCG);
  const auto chosen = choose_accelerator(config::AUTO);
  REQUIRE(chosen);
  CHECK_FALSE(chosen->why.empty());
  if (chosen->accelerator == config::TCG) {
    CHECK_THAT(choose_accelerator(config::KVM).error().message,
               Contains("KVM does not work on this host"));
  }
}
