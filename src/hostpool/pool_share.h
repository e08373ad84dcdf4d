/// What a rank holds of one checkpoint, as the loader builds it and the pipeline reads it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hostpool/arena.h"
#include "hostpool/host_pool.h"
#include "hostpool/image_chunks.h"

namespace ckpt {

/// Owns the adopted mappings and borrows an arena from `store` until it ends. Built in the order of the functions.
class LoadedShare final : public PoolShare {
 public:
  /// `store` is shared: a share may outlive the pool it came from.
  LoadedShare(Device& device, std::shared_ptr<ArenaStore> store, std::size_t num_files);
  ~LoadedShare() override;
  LoadedShare(const LoadedShare&) = delete;
  LoadedShare& operator=(const LoadedShare&) = delete;

  /// Keeps a file of shared memory mapped where it is. The file itself is never changed or removed.
  void adopt(std::uint32_t file, Mapping mapping, const std::string& path);
  [[nodiscard]] bool adopted(std::uint32_t file) const { return adopted_[file].data() != nullptr; }
  /// Memory for the images that are read.
  [[nodiscard]] Status take_arena(const ArenaRequest& request);
  [[nodiscard]] PoolArena* arena() { return arena_.get(); }  ///< null where nothing is read
  /// Bytes of an image will be there, and are: the device learns of them piece by piece.
  void expect(const ImagePlan& plan, const Chunk& chunk);
  [[nodiscard]] Status arrived(const ImagePlan& plan, const Chunk& chunk);
  /// Where the bytes of an image lie, or will lie once they are read.
  [[nodiscard]] const std::byte* address_of(const Image& image) const;
  /// Lays the extents of `plan` out as runs: neighbours in both pool and frame become one.
  void make_runs(const ImagePlan& plan, const FrameLayout& layout);
  void set_digests(std::vector<UnitDigest> digests) { digests_ = std::move(digests); }

  [[nodiscard]] std::span<const CopyRun> runs(std::uint32_t frame, std::uint32_t stripe) const override;
  [[nodiscard]] const std::vector<SegmentInfo>& segments() const override { return segments_; }
  [[nodiscard]] const std::vector<UnitDigest>& digests() const override { return digests_; }
  [[nodiscard]] std::uint64_t bytes() const override;
  [[nodiscard]] Status lay_out_again(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank, bool digests,
                                     const AbortSignal& abort) override;

 private:
  [[nodiscard]] std::uint64_t bytes_to_border(const Image& image, std::uint64_t offset_bytes) const;
  void add_run(const CopyRun& run, std::size_t stripe, bool starts_piece);

  Device& device_;
  std::shared_ptr<ArenaStore> store_;
  std::unique_ptr<PoolArena> arena_;
  std::vector<Mapping> adopted_;                               // by file; empty ones are read
  std::vector<std::unique_ptr<RegisteredMemory>> registered_;  // by image; null for those that are read. After the mappings: ends before them
  std::vector<Image> images_;
  std::vector<std::size_t> first_stripe_;  // by frame: index into first_run_
  std::vector<std::size_t> first_run_;     // by stripe of all frames, and the end
  std::vector<CopyRun> runs_;
  std::vector<SegmentInfo> segments_;
  std::vector<UnitDigest> digests_;
};

}  // namespace ckpt
