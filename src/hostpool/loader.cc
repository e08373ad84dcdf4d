#include "hostpool/loader.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "os/memory.h"
#include "os/threads.h"

namespace ckpt {
namespace {

constexpr Duration kProgressInterval = std::chrono::milliseconds(100);

std::int64_t now_ns() { return Clock::real().now().time_since_epoch().count(); }

}  // namespace

Loader::Loader(Device& device, std::shared_ptr<ArenaStore> store, const LoadRequest& request)
    : request_(request),
      plan_(plan_images(request.checkpoint, request.layout, request.rank)),
      chunks_(plan_, request.options.read_chunk_bytes),
      files_(request.checkpoint.files.size()),
      device_reader_(device),
      share_(std::make_unique<LoadedShare>(device, std::move(store), files_.size())) {}

Result<std::unique_ptr<PoolShare>> Loader::run(LoadReport& report) {
  report = {};
  CKPT_RETURN_IF_ERROR(open_files());
  CKPT_RETURN_IF_ERROR(adopt_files());
  CKPT_RETURN_IF_ERROR(take_arena(report));
  share_->make_runs(plan_, request_.layout.frames);
  if (request_.options.digests) digests_ = std::make_unique<UnitDigests>(plan_, chunks_, *share_);
  CKPT_RETURN_IF_ERROR(read_images(report));
  for (const auto& file : files_)
    if (file) CKPT_RETURN_IF_ERROR(file->check_unchanged());
  if (share_->arena() != nullptr) share_->arena()->became_resident();
  if (digests_) share_->set_digests(digests_->take());
  return std::unique_ptr<PoolShare>(std::move(share_));
}

Status Loader::open_files() {
  for (const Image& image : plan_.images) {
    if (files_[image.file]) continue;
    CKPT_ASSIGN_OR_RETURN(ImageSource file, ImageSource::open(request_.checkpoint.files[image.file]));
    files_[image.file].emplace(std::move(file));
  }
  return Status::success();
}

Status Loader::adopt_files() {
  if (!request_.options.adopt) return Status::success();
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    const File* file = files_[i] ? files_[i]->mappable() : nullptr;
    if (file == nullptr) continue;
    CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::shared(file->fd(), file->bytes(), Access::read_only));
    share_->adopt(i, std::move(mapping), file->path());
  }
  return Status::success();
}

Status Loader::take_arena(LoadReport& report) {
  for (const Image& image : plan_.images)
    if (!share_->adopted(image.file)) total_ += image.bytes;
  if (total_ == 0) return Status::success();
  CKPT_RETURN_IF_ERROR(share_->take_arena({plan_.arena_bytes, request_.options.num_sharing, request_.options.give_up}));
  fresh_ = !share_->arena()->resident();
  report.populated_bytes = fresh_ ? plan_.arena_bytes : 0;
  return Status::success();
}

Status Loader::read_images(LoadReport& report) {
  const std::int64_t begin = now_ns();
  next_progress_ns_ = begin + kProgressInterval.count();
  for (const Chunk& chunk : chunks_.all())
    if (is_fresh(chunk)) share_->expect(plan_, chunk);
  CKPT_RETURN_IF_ERROR(parallel_for(chunks_.all().size(), threads(), [this](std::size_t i) { return bring(i); }));
  if (request_.options.progress) request_.options.progress({done_.load(), total_});
  report.read_bytes = done_.load();
  report.direct = direct_.load();
  report.read_time = Duration(now_ns() - begin);
  report.populate_time = Duration(populate_ns_.load());
  return Status::success();
}

/// Files in memory are copied by as many threads as may be; a disk is best with a few.
unsigned Loader::threads() const {
  const bool all_in_memory = std::all_of(files_.begin(), files_.end(), [](const auto& file) { return !file || file->in_memory(); });
  return all_in_memory ? std::max(request_.options.memory_threads, request_.options.read_threads) : request_.options.read_threads;
}

bool Loader::is_fresh(const Chunk& chunk) const { return fresh_ || share_->adopted(plan_.images[chunk.image].file); }

Status Loader::bring(std::size_t chunk_index) {
  CKPT_FAULT_POINT("load.before_read");
  CKPT_RETURN_IF_ERROR(request_.abort.check());
  CKPT_RETURN_IF_ERROR(request_.deadline.check("reading the checkpoint"));
  const Chunk& chunk = chunks_.all()[chunk_index];
  const Image& image = plan_.images[chunk.image];
  if (share_->adopted(image.file)) {
    CKPT_RETURN_IF_ERROR(map_pages(share_->address_of(image) + chunk.offset_bytes, chunk.bytes).with_note("{}", files_[image.file]->path()));
  } else {
    const std::span<std::byte> into = share_->arena()->memory().subspan(image.arena_offset_bytes + chunk.offset_bytes, chunk.bytes);
    CKPT_RETURN_IF_ERROR(populate_for(into));
    bool direct = false;
    CKPT_RETURN_IF_ERROR(files_[image.file]->read(image.file_offset_bytes + chunk.offset_bytes, into, &direct, device_reader_, request_.deadline));
    if (direct) direct_.store(true, std::memory_order_relaxed);
    tell_progress(done_ += chunk.bytes);
  }
  if (is_fresh(chunk)) CKPT_RETURN_IF_ERROR(share_->arrived(plan_, chunk));
  return digests_ ? digests_->chunk_is_there(chunk_index, request_.abort) : Status::success();
}

/// By the thread that reads next, so that populating goes on while the others wait for the disk.
Status Loader::populate_for(std::span<std::byte> into) {
  if (!fresh_) return Status::success();
  const std::int64_t begin = now_ns();
  const Status status = populate({into.data(), align_up(into.size(), kImageAlignment)}, 1);
  populate_ns_ += now_ns() - begin;
  return status;
}

void Loader::tell_progress(std::uint64_t done) {
  if (!request_.options.progress) return;
  const std::int64_t now = now_ns();
  std::int64_t due = next_progress_ns_.load(std::memory_order_relaxed);
  if (now < due || !next_progress_ns_.compare_exchange_strong(due, now + kProgressInterval.count())) return;
  request_.options.progress({done, total_});
}

}  // namespace ckpt
