// The primary's side of a guest's disks: brings the backup's images up to date while the guest
// runs, then sends each epoch's writes.
//
//   compare digests, send what differs → send what was written meanwhile, pass after pass
//   → log every write, send the last marked chunks → cut the log at each seal
//
// A chunk that is sent while writes are logged may hold some of them already; the log, applied on
// top of it, ends with the last write to each byte, which is what the image has.
#pragma once

#include <functional>
#include <vector>

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
  [[nodiscard]] Result<> cut();
  /// Sends what was cut; how many frames.
  [[nodiscard]] Result<std::uint64_t> send(Epoch epoch);

 private:
  enum class Pace : std::uint8_t { limited, unlimited };

  [[nodiscard]] Result<> compare(std::uint16_t disk);
  [[nodiscard]] Result<std::uint64_t> send_marked(Pace pace);
  /// After so many bytes were looked at or sent; an error: cancelled.
  [[nodiscard]] Result<> keep_rate(std::uint64_t bytes);
  [[nodiscard]] Result<> send_chunk(std::uint16_t disk, std::uint64_t index);
  [[nodiscard]] Result<> write(DiskRecord record);

  GuestDisks& disks_;
  FrameWriter& writer_;
  Port port_;
  RateLimit rate_;
  std::vector<std::byte> chunk_;
  std::vector<DiskWrite> epoch_;
};

}  // namespace understudy::checkpointer
