// The format of a checkpoint file: a guest at one moment, with all that it needs to go on
// elsewhere. Numbers are little-endian. Pure.
//
//   file     blocks without gaps: one about, devices, memory, disks, one end
//   block    head, then the contents as they are stored
//   head     u32 magic, u32 format (1), u32 kind, u32 bytes stored, u32 bytes of contents, u32
//   zero,
//            u64 number of the block (the first is 0), XXH3-128 of all before and of what is stored
//   stored   the contents, or a zstd frame of them where that is smaller
//
//   about    a Checkpoint (checkpoint.proto)
//   devices  a piece of the device state; all of it, in order
//   units    u32 area, u32 count, count times u64 number, then as many units. Area 0 is the memory,
//            its units are pages, counted over all RAM blocks; area n is disk n - 1, its units are
//            chunks of 64 KiB, the last one may be shorter. Areas and numbers rise; what is left
//            out holds zeros
//   end      u64 blocks, u64 pages, u64 chunks, u64 bytes, all of what goes before; XXH3-128 of
//   that
//
// The sums notice decay, cuts and mistakes. They are no signature: who can write to the file can
// make another guest of it.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "checkpointer/checkpoint.pb.h"
#include "checkpointer/page_codec.hpp"
#include "config/content_hash.hpp"
#include "config/result.hpp"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace understudy::checkpointer {

inline constexpr std::uint32_t checkpoint_magic = 0x4b435355;  ///< "USCK", how a file begins

inline constexpr std::size_t checkpoint_head_bytes = 48;
enum class CheckpointBlock : std::uint32_t { about = 1, devices, units, end };

/// How much a file holds.
struct CheckpointCounts {
  std::uint64_t blocks{};
  std::uint64_t pages{};
  std::uint64_t chunks{};
  std::uint64_t bytes{};
};

/// In this order: begin, pages, chunks of each disk, end. Pages and chunks by rising numbers.
class CheckpointEncoder {
 public:
  /// Takes a piece of the file; its errors end the call.
  using Out = std::function<Result<>(std::span<const std::byte>)>;
  explicit CheckpointEncoder(Out out);
  ~CheckpointEncoder();
  CheckpointEncoder(const CheckpointEncoder&) = delete;
  CheckpointEncoder& operator=(const CheckpointEncoder&) = delete;

  [[nodiscard]] Result<> begin(const Checkpoint& about, std::span<const std::byte> devices);
  /// Zeros are left out.
  [[nodiscard]] Result<> add_page(PageIndex page, ConstPage contents);
  [[nodiscard]] Result<> add_chunk(std::size_t disk, std::uint64_t chunk,
                                   std::span<const std::byte> contents);
  [[nodiscard]] Result<> end();

  /// So far.
  [[nodiscard]] const CheckpointCounts& counts() const { return counts_; }

 private:
  [[nodiscard]] Result<> add(std::uint32_t area, std::uint64_t number,
                             std::span<const std::byte> contents);
  [[nodiscard]] Result<> flush_units();
  [[nodiscard]] Result<> block(CheckpointBlock kind, std::span<const std::byte> contents);

  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  Out out_;
  std::unique_ptr<ZSTD_CCtx_s, Free> compressor_;
  ContentHash whole_;
  CheckpointCounts counts_;
  std::uint32_t area_{};
  std::vector<std::uint64_t> numbers_;  ///< that wait
  std::vector<std::byte> units_;        ///< theirs
  std::vector<std::byte> contents_;
  std::vector<std::byte> stored_;
};

/// Where a file's contents go; an error ends the reading.
class CheckpointSink {
 public:
  virtual ~CheckpointSink() = default;
  /// First. It has been checked: check_about.
  [[nodiscard]] virtual Result<> begin(const Checkpoint& about) = 0;
  /// The next piece of the device state.
  [[nodiscard]] virtual Result<> devices(std::span<const std::byte> piece) = 0;
  [[nodiscard]] virtual Result<> page(PageIndex page, ConstPage contents) = 0;
  [[nodiscard]] virtual Result<> disk(std::size_t disk, std::uint64_t offset,
                                      std::span<const std::byte> contents) = 0;
};

/// Whatever the bytes are: an error, or calls of the sink that keep within what `begin` was told,
/// each page and chunk at most once. Needs little more memory than a block.
class CheckpointDecoder {
 public:
  /// The sink must outlive it.
  explicit CheckpointDecoder(CheckpointSink& sink);
  ~CheckpointDecoder();
  CheckpointDecoder(const CheckpointDecoder&) = delete;
  CheckpointDecoder& operator=(const CheckpointDecoder&) = delete;

  /// How many bytes `take` wants next; 0: that was the end of the file, and all is well.
  [[nodiscard]] std::size_t wanted() const { return wanted_; }
  /// After an error: no more.
  [[nodiscard]] Result<> take(std::span<const std::byte> bytes);

  [[nodiscard]] const CheckpointCounts& counts() const { return counts_; }

 private:
  struct Head {
    CheckpointBlock kind;
    std::uint32_t stored;
    std::uint32_t contents;
  };
  [[nodiscard]] Result<> take_head(std::span<const std::byte> bytes);
  [[nodiscard]] Result<> take_stored(std::span<const std::byte> stored);
  [[nodiscard]] Result<> take_contents(std::span<const std::byte> contents);
  [[nodiscard]] Result<> take_about(std::span<const std::byte> contents);
  [[nodiscard]] Result<> take_devices(std::span<const std::byte> contents);
  [[nodiscard]] Result<> take_units(std::span<const std::byte> contents);
  [[nodiscard]] Result<> take_end(std::span<const std::byte> contents);
  [[nodiscard]] Result<> take_unit(std::uint32_t area, std::uint64_t number,
                                   std::span<const std::byte>& units);
  [[nodiscard]] tl::unexpected<Error> damaged(std::string_view what) const;

  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  CheckpointSink& sink_;
  std::unique_ptr<ZSTD_DCtx_s, Free> decompressor_;
  std::size_t wanted_{checkpoint_head_bytes};
  std::array<std::byte, checkpoint_head_bytes> head_bytes_{};
  std::optional<Head> head_;  ///< whose stored contents come next
  std::vector<std::byte> contents_;
  ContentHash whole_;
  CheckpointCounts counts_;

  std::uint64_t pages_{};  ///< that the machine has
  std::vector<std::uint64_t> disk_bytes_;
  std::uint64_t device_bytes_left_{};
  std::uint32_t area_{};
  std::uint64_t next_unit_{};  ///< the lowest that may come in this area
};

/// Whether a machine can be as it is said: sizes, numbers, names.
[[nodiscard]] Result<> check_about(const Checkpoint& about);

}  // namespace understudy::checkpointer
