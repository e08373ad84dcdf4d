/// A rank's part of a checkpoint in host memory: file images, read once, ready for copies into slots. Second station of the data path.
///
///   file     |header|t0 |t1   |t2 |…            read in aligned pieces (O_DIRECT), several threads
///   arena    |…image of one range…|…image…|     address and file offset agree modulo 4096, so reads need no bounce
///   run      a row of neighbouring tensors whose distance is the same in pool and slot: one copy
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "checkpoint/checkpoint.h"
#include "ckpt/result.h"
#include "device/device.h"
#include "manifest/manifest.h"
#include "os/abort_signal.h"

namespace ckpt {

/// One copy from the pool into a slot.
struct CopyRun {
  const std::byte* source;
  std::uint64_t frame_offset_bytes;
  std::uint64_t bytes;
};

/// What a rank holds of one checkpoint. Keeps its memory until it ends; then the arena goes back to the pool. Threads: one at a time while it is laid
/// out again, any number otherwise.
class PoolShare {
 public:
  virtual ~PoolShare() = default;
  /// The runs that fill this rank's unit, by rising offset. Valid while the share lives. No allocation, no per-tensor work.
  [[nodiscard]] virtual std::span<const CopyRun> runs(std::uint32_t frame, std::uint32_t stripe) const = 0;
  [[nodiscard]] virtual const std::vector<SegmentInfo>& segments() const = 0;
  [[nodiscard]] virtual const std::vector<UnitDigest>& digests() const = 0;  ///< empty unless asked for
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;                     ///< of memory held
  /// The same bytes under another layout, as when the other ranks' shares are known. With `digests` those of its units are taken, at the price of
  /// reading the memory once. internal: they are not the same bytes. cancelled.
  [[nodiscard]] virtual Status lay_out_again(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank, bool digests,
                                             const AbortSignal& abort) = 0;
};

struct LoadProgress {
  std::uint64_t read_bytes;
  std::uint64_t total_bytes;
};

struct LoadOptions {
  unsigned read_threads = 4;    ///< for files on a disk
  unsigned memory_threads = 4;  ///< where all files lie in memory, if that is more
  std::uint64_t read_chunk_bytes = 8u << 20;
  bool digests = false;                               ///< take xxh3 of every unit while loading (`--verify`)
  bool adopt = false;                                 ///< files under /dev/shm are mapped in place instead of read
  unsigned num_sharing = 1;                           ///< ranks of this host, which take as much memory at the same time
  std::function<bool()> give_up;                      ///< called where fresh memory is scarce: gives back what is kept for later, or false
  std::function<void(const LoadProgress&)> progress;  ///< called from any loading thread, a few times a second
};

struct LoadReport {
  std::uint64_t read_bytes = 0;
  std::uint64_t populated_bytes = 0;  ///< fresh memory; 0 when the arena was reused or adopted
  Duration populate_time{};
  Duration read_time{};
  bool direct = false;  ///< O_DIRECT was used
};

/// The arenas of one rank. Threads: one caller at a time. Must outlive its shares.
class HostPool {
 public:
  virtual ~HostPool() = default;
  /// Loads what `rank` holds of `checkpoint` under `layout`. Bounds are checked first. On any error nothing is left behind and earlier shares are
  /// untouched. resource_exhausted (bytes missing, which limit), not_found, data_corruption (short file), cancelled, deadline_exceeded.
  [[nodiscard]] virtual Result<std::unique_ptr<PoolShare>> load(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank,
                                                                const LoadOptions& options, Deadline deadline, const AbortSignal& abort,
                                                                LoadReport* report) = 0;
  [[nodiscard]] virtual std::uint64_t reserved_bytes() const = 0;   ///< of arenas, in use or kept for reuse
  [[nodiscard]] virtual std::uint32_t num_arenas_made() const = 0;  ///< since it began: the same from update to update once there are enough
  virtual void free_unused() = 0;                                   ///< what no share uses goes back to the system
};

/// An empty pool that registers its memory with `device`, which must outlive it.
[[nodiscard]] std::unique_ptr<HostPool> make_host_pool(Device& device);

}  // namespace ckpt
