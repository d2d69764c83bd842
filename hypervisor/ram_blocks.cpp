#include "hypervisor/ram_blocks.hpp"

#include <algorithm>
#include <optional>
#include <sstream>

#include "config/limits.hpp"
#include "hypervisor/qemu_command.hpp"

namespace understudy::hypervisor {
namespace {

std::optional<std::uint64_t> hexadecimal(const std::string& word) {
  if (!word.starts_with("0x") || word.size() > 18) return std::nullopt;
  std::size_t used{};
  const auto value = std::stoull(word, &used, 16);
  return used == word.size() ? std::optional{value} : std::nullopt;
}

/// "Name  4 KiB  0xOFFSET 0xUSED 0xTOTAL [0xHVA rw|ro]"
std::optional<ListedBlock> parse_line(const std::string& line) {
  std::istringstream words{line};
  std::string name, page_size, unit, offset, used, total, address;
  words >> name >> page_size >> unit >> offset >> used >> total >> address;
  const auto used_bytes = hexadecimal(used);
  const auto max_bytes = hexadecimal(total);
  if (!hexadecimal(offset) || !used_bytes || !max_bytes) return std::nullopt;
  return ListedBlock{{name, *used_bytes, *max_bytes}, hexadecimal(address).value_or(0)};
}

}  // namespace

Result<std::vector<ListedBlock>> parse_ram_blocks(std::string_view text) {
  std::vector<ListedBlock> blocks;
  std::istringstream lines{std::string{text}};
  std::string line;
  std::getline(lines, line);  // the heading
  while (std::getline(lines, line)) {
    if (line.find_first_not_of(" \r") == std::string::npos) continue;
    const auto block = parse_line(line);
    if (!block || blocks.size() == limits::ram_blocks) {
      return fail(ErrorKind::protocol, "cannot read QEMU's list of RAM blocks at: {}", line);
    }
    blocks.push_back(*block);
  }
  std::sort(blocks.begin(), blocks.end(), [](const ListedBlock& a, const ListedBlock& b) {
    return std::pair{a.block.name != main_ram, a.block.name} <
           std::pair{b.block.name != main_ram, b.block.name};
  });
  if (blocks.empty() || blocks.front().block.name != main_ram) {
    return fail(ErrorKind::protocol, "QEMU lists no RAM block {}", main_ram);
  }
  return blocks;
}

}  // namespace understudy::hypervisor
