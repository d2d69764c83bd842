#include "hypervisor/qemu_command.hpp"

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
  append(words, {"-kernel", boot.kernel()});
  if (!boot.initrd().empty()) append(words, {"-initrd", boot.initrd()});
  if (!boot.command_line().empty()) append(words, {"-append", boot.command_line()});
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

}  // namespace

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
  append(words, {"-chardev", fmt::format("socket,id=monitor,fd={}", descriptors.monitor), "-mon",
                 "chardev=monitor,mode=control"});
  add_console(words, guest);
  append(words, {"-vga", guest.display() == config::VGA ? "std" : "none"});
  for (std::size_t i = 0; i < descriptors.nics.size(); ++i) {
    add_nic(words, guest, i, descriptors.nics[i]);
  }
  add_boot(words, guest.boot());
  if (start == Start::incoming) {
    append(words, {"-incoming", "defer"});
  } else {
    append(words, {"-S"});
  }
  return words;
}

}  // namespace understudy::hypervisor
