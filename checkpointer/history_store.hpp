// Where a history keeps its pieces: one file without a name, which goes with the process, however
// that ends. Space that is given back is used again.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "config/result.hpp"
#include "config/unique_fd.hpp"

namespace understudy::checkpointer {

/// Thread-safe.
class HistoryStore : public std::enable_shared_from_this<HistoryStore> {
 public:
  /// Some bytes in the store, for as long as anyone holds them.
  class Piece {
   public:
    Piece(std::shared_ptr<HistoryStore> store, std::uint64_t offset, std::uint64_t bytes,
          std::uint64_t hash)
        : store_{std::move(store)}, offset_{offset}, bytes_{bytes}, hash_{hash} {}
    ~Piece() { store_->give_back(offset_, bytes_); }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;

    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    /// Exactly what was put; `protocol` when the disk gives something else.
    [[nodiscard]] Result<std::vector<std::byte>> read() const;

   private:
    const std::shared_ptr<HistoryStore> store_;
    const std::uint64_t offset_;
    const std::uint64_t bytes_;
    const std::uint64_t hash_;  ///< XXH3-64
  };
  using PiecePointer = std::shared_ptr<const Piece>;

  /// In a directory whose file system has nameless files (O_TMPFILE); it is made if need be.
  [[nodiscard]] static Result<std::shared_ptr<HistoryStore>> create(const std::string& directory);

  /// Refuses before the file system is full: others live there.
  [[nodiscard]] Result<PiecePointer> put(std::span<const std::byte> contents);

 private:
  explicit HistoryStore(UniqueFd file) : file_{std::move(file)} {}
  [[nodiscard]] std::uint64_t take(std::uint64_t bytes);
  void give_back(std::uint64_t offset, std::uint64_t bytes);

  UniqueFd file_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> free_;  ///< offset → bytes, never adjacent
  std::uint64_t end_{};
};

}  // namespace understudy::checkpointer
