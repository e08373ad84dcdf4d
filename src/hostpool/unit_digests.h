/// Digests of a rank's units, taken by the threads that read: each unit by the one that brings its last chunk, while the others read on.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "hostpool/host_pool.h"
#include "hostpool/image_chunks.h"
#include "os/abort_signal.h"

namespace ckpt {

/// Thread-safe where it says so. `share` must outlive it; its runs must stand.
class UnitDigests {
 public:
  UnitDigests(const ImagePlan& plan, const ImageChunks& chunks, const PoolShare& share);

  /// The bytes of chunk `index` are there, each chunk once. Hashes the units that are complete now. Returns the abort's reason if that ended it.
  /// Thread-safe.
  [[nodiscard]] Status chunk_is_there(std::size_t index, const AbortSignal& abort);
  /// By frame and stripe, after all chunks.
  [[nodiscard]] std::vector<UnitDigest> take() { return std::move(digests_); }

 private:
  [[nodiscard]] Status hash(UnitDigest& digest, const AbortSignal& abort) const;

  const PoolShare& share_;
  std::vector<UnitDigest> digests_;                          // one a unit that holds bytes
  std::vector<std::size_t> first_unit_;                      // by chunk, and the end: index into units_
  std::vector<std::size_t> units_;                           // indices into digests_
  std::unique_ptr<std::atomic<std::size_t>[]> chunks_left_;  // by unit
};

}  // namespace ckpt
