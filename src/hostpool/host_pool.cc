#include "hostpool/host_pool.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "hostpool/arena.h"
#include "hostpool/image_plan.h"
#include "os/direct_io.h"
#include "os/memory.h"
#include "os/threads.h"

namespace ckpt {
namespace {

/// What a share keeps: its memory and, per frame and stripe, the range of its runs.
class Share final : public PoolShare {
 public:
  Share(std::shared_ptr<ArenaStore> store, const FrameLayout& layout) : store_(std::move(store)) {
    first_stripe_.reserve(layout.frames.size());
    std::size_t stripes = 0;
    for (const Frame& frame : layout.frames) {
      first_stripe_.push_back(stripes);
      stripes += frame.stripes.size();
    }
    first_run_.assign(stripes + 1, 0);
  }
  ~Share() override {
    for (Mapping& adopted : adopted_)
      if (adopted.data() != nullptr) device_->unregister_host(adopted.span());
    if (arena_) store_->give_back(std::move(arena_));
  }

  [[nodiscard]] std::span<const CopyRun> runs(std::uint32_t frame, std::uint32_t stripe) const override {
    const std::size_t index = first_stripe_[frame] + stripe;
    return std::span(runs_).subspan(first_run_[index], first_run_[index + 1] - first_run_[index]);
  }
  [[nodiscard]] const std::vector<SegmentInfo>& segments() const override { return segments_; }
  [[nodiscard]] const std::vector<UnitDigest>& digests() const override { return digests_; }
  [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }

  std::shared_ptr<ArenaStore> store_;  // shared: a share may outlive its pool's owner by a moment
  Device* device_ = nullptr;
  std::unique_ptr<PoolArena> arena_;
  std::vector<Mapping> adopted_;  // by file; empty ones were read
  std::vector<std::size_t> first_stripe_;
  std::vector<std::size_t> first_run_;
  std::vector<CopyRun> runs_;
  std::vector<SegmentInfo> segments_;
  std::vector<UnitDigest> digests_;
  std::uint64_t bytes_ = 0;
};

struct Chunk {
  std::uint32_t image;
  std::uint64_t offset;  // in the image
  std::uint64_t bytes;
};

/// One load, step by step. Whatever fails, what it made ends with it.
class Loader {
 public:
  Loader(Device& device, std::shared_ptr<ArenaStore> store, const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank,
         const LoadOptions& options, Deadline deadline, const AbortSignal& abort)
      : device_(device),
        checkpoint_(checkpoint),
        layout_(layout),
        options_(options),
        deadline_(deadline),
        abort_(abort),
        plan_(plan_images(checkpoint, layout, rank)),
        share_(std::make_unique<Share>(std::move(store), layout.frames)) {
    share_->device_ = &device;
  }

  Result<std::unique_ptr<PoolShare>> run(LoadReport& report) {
    CKPT_RETURN_IF_ERROR(open_files());
    CKPT_RETURN_IF_ERROR(adopt_files());
    CKPT_RETURN_IF_ERROR(take_arena(report));
    CKPT_RETURN_IF_ERROR(read_images(report));
    for (const auto& file : files_)
      if (file) CKPT_RETURN_IF_ERROR(file->check_unchanged());
    if (share_->arena_) CKPT_RETURN_IF_ERROR(share_->arena_->became_resident());
    make_runs();
    CKPT_RETURN_IF_ERROR(take_digests());
    return std::unique_ptr<PoolShare>(std::move(share_));
  }

 private:
  Status open_files() {
    files_.resize(checkpoint_.files.size());
    for (const Image& image : plan_.images) {
      if (files_[image.file]) continue;
      const CheckpointFile& expected = checkpoint_.files[image.file];
      CKPT_ASSIGN_OR_RETURN(DirectFile file, DirectFile::open(expected.path));
      if (file.file().bytes() != expected.bytes)
        return {
            StatusCode::data_corruption, Scope::operation, "{} had {} bytes when its header was read and has {} now", expected.path, expected.bytes,
            file.file().bytes()};
      files_[image.file].emplace(std::move(file));
    }
    return Status::success();
  }

  Status adopt_files() {
    share_->adopted_.resize(files_.size());
    if (!options_.adopt) return Status::success();
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!files_[i] || !files_[i]->in_memory()) continue;
      const File& file = files_[i]->file();
      CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::shared(file.fd(), file.bytes(), Access::read_only));
      CKPT_RETURN_IF_ERROR(device_.register_host(mapping.span()).with_note("{}", file.path()));
      share_->adopted_[i] = std::move(mapping);
      share_->segments_.push_back({reinterpret_cast<std::uint64_t>(share_->adopted_[i].data()), file.bytes(), file.path()});
    }
    return Status::success();
  }
  [[nodiscard]] bool adopted(const Image& image) const { return share_->adopted_[image.file].data() != nullptr; }

  Status take_arena(LoadReport& report) {
    const bool any_read = std::any_of(plan_.images.begin(), plan_.images.end(), [this](const Image& image) { return !adopted(image); });
    if (!any_read) return Status::success();
    CKPT_ASSIGN_OR_RETURN(share_->arena_, share_->store_->take(plan_.arena_bytes));
    fresh_ = !share_->arena_->resident();
    report.populated_bytes = fresh_ ? share_->arena_->memory().size() : 0;
    share_->bytes_ = share_->arena_->memory().size();
    share_->segments_.push_back({reinterpret_cast<std::uint64_t>(share_->arena_->memory().data()), share_->bytes_, ""});
    return Status::success();
  }

  Status read_images(LoadReport& report) {
    const TimePoint begin = Clock::real().now();
    std::vector<Chunk> chunks;
    const std::uint64_t step = align_up(options_.read_chunk_bytes, kImageAlignment);
    for (std::uint32_t i = 0; i < plan_.images.size(); ++i) {
      if (adopted(plan_.images[i])) continue;
      total_ += plan_.images[i].bytes;
      for (std::uint64_t at = 0; at < plan_.images[i].bytes; at += step) chunks.push_back({i, at, std::min(step, plan_.images[i].bytes - at)});
    }
    CKPT_RETURN_IF_ERROR(parallel_for(chunks.size(), options_.read_threads, [&](std::size_t i) { return read_chunk(chunks[i]); }));
    report.read_bytes = done_.load();
    report.direct = direct_.load();
    report.read_time = Clock::real().now() - begin;
    report.populate_time = Duration(populate_ns_.load());
    return Status::success();
  }

  Status read_chunk(const Chunk& chunk) {
    CKPT_FAULT_POINT("load.before_read");
    CKPT_RETURN_IF_ERROR(abort_.check());
    CKPT_RETURN_IF_ERROR(deadline_.check("reading the checkpoint"));
    const Image& image = plan_.images[chunk.image];
    const std::span<std::byte> into = share_->arena_->memory().subspan(image.arena_offset_bytes + chunk.offset, chunk.bytes);
    if (fresh_) {  // by the thread that reads into it, so that populating overlaps the reads of the others
      const TimePoint begin = Clock::real().now();
      CKPT_RETURN_IF_ERROR(populate({into.data(), align_up(into.size(), kImageAlignment)}, 1));
      populate_ns_ += (Clock::real().now() - begin).count();
    }
    bool direct = false;
    CKPT_RETURN_IF_ERROR(files_[image.file]->read(image.file_offset_bytes + chunk.offset, into, &direct));
    if (direct) direct_ = true;
    const std::uint64_t done = done_ += chunk.bytes;
    if (options_.progress) options_.progress({done, total_});
    return Status::success();
  }

  [[nodiscard]] const std::byte* source_of(const PlacedExtent& extent) const {
    const Image& image = plan_.images[extent.image];
    if (adopted(image)) return share_->adopted_[image.file].data() + image.file_offset_bytes + extent.image_offset_bytes;
    return share_->arena_->memory().data() + image.arena_offset_bytes + extent.image_offset_bytes;
  }

  void make_runs() {
    std::size_t stripe_of_last = 0;
    for (const PlacedExtent& extent : plan_.extents) {
      const std::size_t stripe = share_->first_stripe_[extent.frame] + extent.stripe;
      while (stripe_of_last < stripe) share_->first_run_[++stripe_of_last] = share_->runs_.size();
      const std::byte* source = source_of(extent);
      if (share_->runs_.size() > share_->first_run_[stripe]) {
        CopyRun& last = share_->runs_.back();
        if (last.source + last.bytes == source && last.frame_offset_bytes + last.bytes == extent.frame_offset_bytes) {
          last.bytes += extent.bytes;
          continue;
        }
      }
      share_->runs_.push_back({source, extent.frame_offset_bytes, extent.bytes});
    }
    while (stripe_of_last + 1 < share_->first_run_.size()) share_->first_run_[++stripe_of_last] = share_->runs_.size();
  }

  Status take_digests() {
    if (!options_.digests) return Status::success();
    for (std::uint32_t frame = 0; frame < layout_.frames.frames.size(); ++frame)
      for (std::uint32_t stripe = 0; stripe < layout_.frames.frames[frame].stripes.size(); ++stripe)
        if (!share_->runs(frame, stripe).empty()) share_->digests_.push_back({frame, stripe, 0});
    return parallel_for(share_->digests_.size(), options_.read_threads, [this](std::size_t i) {
      UnitDigest& digest = share_->digests_[i];
      CKPT_RETURN_IF_ERROR(abort_.check());
      XXH3_state_t state;
      XXH3_64bits_reset(&state);
      for (const CopyRun& run : share_->runs(digest.frame, digest.stripe)) XXH3_64bits_update(&state, run.source, run.bytes);
      digest.xxh3 = XXH3_64bits_digest(&state);
      return Status::success();
    });
  }

  Device& device_;
  const Checkpoint& checkpoint_;
  const CheckpointLayout& layout_;
  const LoadOptions& options_;
  Deadline deadline_;
  const AbortSignal& abort_;
  ImagePlan plan_;
  std::vector<std::optional<DirectFile>> files_;
  std::unique_ptr<Share> share_;
  bool fresh_ = false;
  std::uint64_t total_ = 0;
  std::atomic<std::uint64_t> done_{0};
  std::atomic<bool> direct_{false};
  std::atomic<std::int64_t> populate_ns_{0};
};

class Pool final : public HostPool {
 public:
  explicit Pool(Device& device) : device_(device), store_(std::make_shared<ArenaStore>(device)) {}

  [[nodiscard]] Result<std::unique_ptr<PoolShare>> load(const Checkpoint& checkpoint, const CheckpointLayout& layout, std::uint32_t rank,
                                                        const LoadOptions& options, Deadline deadline, const AbortSignal& abort,
                                                        LoadReport* report) override {
    LoadReport ignored;
    return Loader(device_, store_, checkpoint, layout, rank, options, deadline, abort).run(report != nullptr ? *report : ignored);
  }
  [[nodiscard]] std::uint64_t reserved_bytes() const override { return store_->reserved_bytes(); }

 private:
  Device& device_;
  std::shared_ptr<ArenaStore> store_;
};

}  // namespace

std::unique_ptr<HostPool> make_host_pool(Device& device) { return std::make_unique<Pool>(device); }

}  // namespace ckpt
