#include "hypervisor/qemu_command.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace understudy::hypervisor {
namespace {

using Words = std::vector<std::string>;

/// QEMU's option parser splits at commas; two stand for one.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == ',' ? ",," : std::string{c};
  return result;
}

void append(Words& words, std::initializer_list<std::string> more) {
  words.insert(words.end(), more);
}

void add_machine(Words& words, const config::Guest& guest, int ram) {
  const auto* accelerator = guest.accelerator() == config::KVM ? "kvm" : "tcg,thread=multi";
  append(words,
         {"-machine", fmt::format("{},memory-backend={}", guest.machine(), main_ram), "-accel",
          accelerator, "-cpu", guest.cpu(), "-smp", std::to_string(guest.vcpus()), "-m",
          fmt::format("{}M", guest.memory_mib()), "-object",
          fmt::format("memory-backend-file,id={},size={}M,mem-path=/proc/self/fd/{},share=on",
                      main_ram, guest.memory_mib(), ram)});
}

void add_boot(Words& words, const config::Boot& boot) {
  if (boot.kernel().empty()) return;  // from its first disk
  append(words, {"-kernel", boot.kernel()});
  if (!boot.initrd().empty()) append(words, {"-initrd", boot.initrd()});
  if (!boot.command_line().empty()) append(words, {"-append", boot.command_line()});
}

void add_monitors(Words& words, const std::vector<int>& descriptors) {
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    append(words, {"-chardev", fmt::format("socket,id=monitor{},fd={}", i, descriptors[i]), "-mon",
                   fmt::format("chardev=monitor{},mode=control", i)});
  }
}

void add_console(Words& words, const config::Guest& guest) {
  const auto target = guest.console_log().empty() ? std::string{"null,id=console"}
                                                  : fmt::format("file,id=console,path={},append=on",
                                                                escaped(guest.console_log()));
  append(words, {"-chardev", target, "-serial", "chardev:console"});
}

void add_nic(Words& words, const config::Guest& guest, std::size_t number, int descriptor) {
  const auto& nic = guest.nic(static_cast<int>(number));
  auto device = fmt::format("{0},id=nic{1},netdev=net{1},mac={2}", nic.model(), number, nic.mac());
  if (nic.backend() == config::VHOST_USER) {
    append(words,
           {"-chardev", fmt::format("socket,id=vhost{},path=/proc/self/fd/{}", number, descriptor),
            "-netdev", fmt::format("vhost-user,id=net{0},chardev=vhost{0}", number)});
    // QEMU 7.2 crashes under TCG when it hands MSI-X vectors to a vhost backend.
    if (guest.accelerator() == config::TCG) device += ",vectors=0";
  } else {
    append(words, {"-netdev", fmt::format("stream,id=net{},server=off,addr.type=fd,addr.str={}",
                                          number, descriptor)});
  }
  append(words, {"-device", device});
}

/// Given, so that QEMU does not guess it from the partition table: a standby would read that from
/// an image that is about to change.
std::string geometry(std::uint64_t bytes) {
  constexpr std::uint64_t heads = 16;
  constexpr std::uint64_t sectors = 63;
  const auto cylinders = std::clamp<std::uint64_t>(bytes / (heads * sectors * 512), 1, 16383);
  return fmt::format("cyls={},heads={},secs={}", cylinders, heads, sectors);
}

/// libvirt's meanings of the words: see config.proto.
std::string error_policy(config::ErrorPolicy policy) {
  switch (policy) {
    case config::STOP: return "rerror=stop,werror=stop";
    case config::ENOSPACE: return "rerror=report,werror=enospc";
    case config::IGNORE: return "rerror=ignore,werror=ignore";
    default: return "rerror=report,werror=report";
  }
}

void add_disks(Words& words, const config::Guest& guest, const QemuDescriptors& descriptors) {
  const bool scsi = std::ranges::any_of(
      guest.disk(), [](const auto& disk) { return disk.model().starts_with("scsi-"); });
  if (scsi) append(words, {"-device", "virtio-scsi-pci,id=scsi"});
  for (std::size_t i = 0; i < descriptors.disks.size(); ++i) {
    const auto& disk = descriptors.disks[i];
    append(words,
           {"-blockdev",
            fmt::format("driver=nbd,node-name={0},server.type=fd,server.str={1},export={0},"
                        "discard=unmap",
                        disk_export(i), disk.socket),
            "-device",
            fmt::format("{},drive={},{},{}", guest.disk(static_cast<int>(i)).model(),
                        disk_export(i), error_policy(guest.disk(static_cast<int>(i)).on_error()),
                        geometry(disk.bytes))});
  }
}

}  // namespace

std::string disk_export(std::size_t number) {
  return fmt::format("disk{}", number);
}

Words qemu_command(const config::Guest& guest, Start start, const QemuDescriptors& descriptors) {
  Words words{qemu_program,
              "-name",
              fmt::format("{},debug-threads=on", guest.name()),
              "-nodefaults",
              "-no-user-config",
              "-only-migratable",
              "-display",
              "none"};
  add_machine(words, guest, descriptors.ram);
  add_monitors(words, descriptors.monitors);
  add_console(words, guest);
  append(words, {"-vga", guest.display() == config::VGA ? "std" : "none"});
  for (std::size_t i = 0; i < descriptors.nics.size(); ++i) {
    add_nic(words, guest, i, descriptors.nics[i]);
  }
  add_disks(words, guest, descriptors);
  add_boot(words, guest.boot());
  if (start == Start::incoming) {
    append(words, {"-incoming", "defer"});
  } else {
    append(words, {"-S"});
  }
  return words;
}

}  // namespace understudy::hypervisor
