/// One load of a rank's part: files opened, memory taken, images read and hashed by several threads.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "hostpool/image_chunks.h"
#include "hostpool/image_source.h"
#include "hostpool/pool_share.h"
#include "hostpool/unit_digests.h"

namespace ckpt {

/// What a load is given; everything borrowed must outlive it.
struct LoadRequest {
  const Checkpoint& checkpoint;
  const CheckpointLayout& layout;
  std::uint32_t rank;
  const LoadOptions& options;
  Deadline deadline;
  const AbortSignal& abort;
};

/// Runs once. Whatever fails, what it made ends with it.
class Loader {
 public:
  Loader(Device& device, std::shared_ptr<ArenaStore> store, const LoadRequest& request);

  [[nodiscard]] Result<std::unique_ptr<PoolShare>> run(LoadReport& report);

 private:
  [[nodiscard]] Status open_files();
  [[nodiscard]] Status adopt_files();
  [[nodiscard]] Status take_arena(LoadReport& report);
  [[nodiscard]] Status read_images(LoadReport& report);
  [[nodiscard]] unsigned threads() const;
  /// Whether the device does not know its memory yet.
  [[nodiscard]] bool is_fresh(const Chunk& chunk) const;
  [[nodiscard]] Status bring(std::size_t chunk_index);
  [[nodiscard]] Status populate_for(std::span<std::byte> into);
  void tell_progress(std::uint64_t done);

  LoadRequest request_;
  ImagePlan plan_;
  ImageChunks chunks_;
  std::vector<std::optional<ImageSource>> files_;  // by file; those of which this rank needs nothing stay closed
  DeviceReader device_reader_;
  std::unique_ptr<LoadedShare> share_;
  std::unique_ptr<UnitDigests> digests_;  // null unless asked for
  bool fresh_ = false;                    // the arena is not resident yet
  std::uint64_t total_ = 0;               // bytes to read
  std::atomic<std::uint64_t> done_{0};
  std::atomic<bool> direct_{false};
  std::atomic<std::int64_t> populate_ns_{0};
  std::atomic<std::int64_t> next_progress_ns_{0};
};

}  // namespace ckpt
