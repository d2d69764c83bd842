// The primary's side of a guest's disks: brings the backup's images up to date while the guest
// runs, then sends each epoch's writes.
//
//   ask where the images may differ → compare digests there, send what differs → send what was
//   written meanwhile, pass after pass → log every write, send the last marked chunks → cut the log
//   at each seal
//
// A chunk that is sent while writes are logged may hold some of them already; the log, applied on
// top of it, ends with the last write to each byte, which is what the image has.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpointer/activity_map.hpp"
#include "checkpointer/frame_writer.hpp"
#include "checkpointer/guest_disks.hpp"
#include "checkpointer/rate_limit.hpp"

namespace understudy::checkpointer {

/// The engine's thread.
class DiskStream {
 public:
  struct Port {
    /// Sends a request under a number of its own and waits for its answer.
    std::function<Result<replication::Reply>(replication::Request)> ask;
    std::function<bool()> cancelled;
    std::function<void(double)> progress;  ///< of the comparison, 0 to 1
    std::function<void()> hasten;          ///< the epoch had better end soon; any thread
    std::uint64_t bytes_per_second{};      ///< of `synchronise`; 0: as fast as it goes
  };

  DiskStream(GuestDisks& disks, FrameWriter& writer, Port port);
  /// The disks go on unprotected.
  ~DiskStream();
  DiskStream(const DiskStream&) = delete;
  DiskStream& operator=(const DiskStream&) = delete;

  /// Until little is left that the backup does not have.
  [[nodiscard]] Result<> synchronise();
  /// Writes belong to epochs from now on; sends the rest of what came before.
  [[nodiscard]] Result<> begin_epochs();

  /// While held, no write waits for room: the machine is being paused.
  class Hurry {
   public:
    explicit Hurry(GuestDisks& disks) : log_{disks.log()} { log_.hurry(true); }
    ~Hurry() { log_.hurry(false); }
    Hurry(const Hurry&) = delete;
    Hurry& operator=(const Hurry&) = delete;

   private:
    WriteLog& log_;
  };

  /// The machine is paused: ends the epoch's writes.
  [[nodiscard]] Result<> cut(Epoch epoch);
  /// The pair id that both hosts shall have; none: the backup knows nothing of such.
  [[nodiscard]] PairId pair() const { return paired_ ? next_ : PairId{}; }
  /// Sends what was cut; how many frames.
  [[nodiscard]] Result<std::uint64_t> send(Epoch epoch);

 private:
  enum class Pace : std::uint8_t { limited, unlimited };

  /// What must be compared, of each disk.
  struct Plan {
    std::vector<std::vector<ChunkRun>> runs;
    std::string why;
    std::uint64_t chunks{};
  };
  [[nodiscard]] Result<Plan> plan();
  [[nodiscard]] Plan everything(std::string why);
  /// Extents in which the backup's images may differ, beside ours; an error: nobody knows.
  [[nodiscard]] Result<std::vector<Extent>> ask_map(PairId pair);
  void tell(const Plan& plan);
  [[nodiscard]] Result<> compare(std::uint16_t disk, std::span<const ChunkRun> runs);
  /// How many of them differed, and were sent.
  [[nodiscard]] Result<std::uint64_t> compare_some(std::uint16_t disk, ChunkRun run);
  [[nodiscard]] Result<std::uint64_t> send_marked(Pace pace);
  /// After so many bytes were looked at or sent; an error: cancelled.
  [[nodiscard]] Result<> keep_rate(std::uint64_t bytes);
  [[nodiscard]] Result<> send_chunk(std::uint16_t disk, std::uint64_t index);
  [[nodiscard]] Result<> write(DiskRecord record);

  GuestDisks& disks_;
  FrameWriter& writer_;
  Port port_;
  RateLimit rate_;
  const PairId next_;
  bool paired_{};
  std::uint64_t compared_{};    ///< chunks
  std::uint64_t to_compare_{};  ///< ... of so many
  std::vector<std::byte> chunk_;
  std::vector<DiskWrite> epoch_;
};

}  // namespace understudy::checkpointer
