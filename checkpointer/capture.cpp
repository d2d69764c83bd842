#include "checkpointer/capture.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace understudy::checkpointer {

Result<Capture> Capture::create(hypervisor::ActiveMachine& machine, FrameWriter& writer) {
  const auto bytes = machine.layout().bytes() + device_pages * page_bytes;
  UNDERSTUDY_TRY(auto shadow, Mapping::anonymous(bytes));
  return Capture{machine, writer, std::move(shadow)};
}

Result<> Capture::take(std::uint64_t max_pages) {
  const auto sink = [this](PageIndex first, std::span<const std::byte> contents) -> Result<> {
    std::array<std::byte, page_bytes> stable;  // the guest may write while we look
    auto index = first;
    for (; !contents.empty(); contents = contents.subspan(page_bytes), index = index.next()) {
      std::memcpy(stable.data(), contents.data(), page_bytes);
      UNDERSTUDY_CHECK(write(index, stable));
    }
    return {};
  };
  return machine_->harvest(sink, max_pages);
}

Result<> Capture::take_devices(const hypervisor::DeviceState& devices) {
  PageIndex index{machine_->layout().pages()};
  auto rest = devices.bytes;
  while (!rest.empty()) {
    std::array<std::byte, page_bytes> page{};
    const auto size = std::min(rest.size(), page_bytes);
    std::memcpy(page.data(), rest.data(), size);
    UNDERSTUDY_CHECK(write(index, page));
    rest = rest.subspan(size);
    index = index.next();
  }
  return {};
}

Result<> Capture::write(PageIndex index, ConstPage contents) {
  ++counts_.dirty_pages;
  const auto before = shadow_.bytes().subspan(index.value() * page_bytes).first<page_bytes>();
  UNDERSTUDY_TRY(const auto room, writer_->room());
  const auto size = encode_page(index, contents, before, room);
  if (size == 0) return {};
  writer_->wrote(size);
  ++counts_.records;
  return {};
}

}  // namespace understudy::checkpointer
