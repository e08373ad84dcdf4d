#include "server/host_rates.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "base/bytes.h"
#include "device/host/host_device.h"
#include "hostpool/host_pool.h"
#include "os/direct_io.h"
#include "os/error.h"
#include "os/memory.h"
#include "os/shared_memory.h"
#include "os/threads.h"
#include "os/unique_fd.h"
#include "server/fill_slots.h"
#include "server/interleave.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kPiece = 8 * MiB;

/// The plain loop that reading is judged by: the system's own calls, nothing of ours between.
Status plain_direct_read(int fd, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0) return errno_status(errno, "read a file with O_DIRECT");
    if (got == 0) return Status::success();
    offset += static_cast<std::uint64_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
    if (got % static_cast<ssize_t>(kPageBytes) != 0) return Status::success();  // the end of the file
  }
  return Status::success();
}

struct Range {
  std::size_t file;
  std::uint64_t offset;
  std::uint64_t bytes;
};

/// Everything that the measurements share: files, one arena-sized buffer, one layout of one rank.
class HostRates {
 public:
  HostRates(const Checkpoint& checkpoint, unsigned rounds, Deadline deadline, const AbortSignal& abort)
      : checkpoint_(checkpoint), rounds_(rounds), deadline_(deadline), abort_(abort), threads_(usable_cores()) {}

  Status prepare() {
    CKPT_ASSIGN_OR_RETURN(device_, make_host_device({0, threads_}));
    pool_ = make_host_pool(*device_);
    layout_.parameters = checkpoint_.parameters;
    CKPT_ASSIGN_OR_RETURN(layout_.frames, make_striped_layout(layout_.parameters, 1, {256 * MiB, 32 * MiB}));
    for (std::size_t i = 0; i < checkpoint_.files.size(); ++i) {
      CKPT_ASSIGN_OR_RETURN(DirectFile file, DirectFile::open(checkpoint_.files[i].path));
      files_.push_back(std::move(file));
      UniqueFd direct(::open(checkpoint_.files[i].path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
      if (!direct.valid()) direct.reset(::open(checkpoint_.files[i].path.c_str(), O_RDONLY | O_CLOEXEC));  // as tmpfs before Linux 6.6
      direct_.push_back(std::move(direct));
      for (std::uint64_t at = 0; at < checkpoint_.files[i].bytes; at += kPiece)
        ranges_.push_back({i, at, std::min(kPiece, checkpoint_.files[i].bytes - at)});
      bytes_ += checkpoint_.files[i].bytes;
    }
    CKPT_ASSIGN_OR_RETURN(buffer_, Mapping::anonymous(ranges_.size() * kPiece));
    return populate(buffer_.span(), threads_);
  }

  Result<RateRow> populating() {
    RateRow row{"populate fresh memory", "MADV_POPULATE_WRITE on as many threads", bytes_, 0, 0};
    const auto fresh = [this](bool plain) -> Status {
      CKPT_ASSIGN_OR_RETURN(const Mapping memory, Mapping::anonymous(bytes_));
      if (!plain) return populate(memory.span(), threads_);
      const std::uint64_t part = round_up(memory.bytes() / threads_, 2 * MiB);
      return parallel_for(threads_, threads_, [&](std::size_t i) {
        const std::uint64_t begin = std::min(i * part, memory.bytes());
        ::madvise(memory.data() + begin, std::min(part, memory.bytes() - begin), MADV_POPULATE_WRITE);
        return Status::success();
      });
    };
    CKPT_RETURN_IF_ERROR(interleave(row, rounds_, nullptr, [&] { return fresh(false); }, [&] { return fresh(true); }));
    return row;
  }

  /// Loading into memory that an earlier checkpoint left, against plain reads of the same files.
  Result<RateRow> reading_cold() {
    RateRow row{"load, cold files", "plain O_DIRECT reads, best of 1 to 4 threads", bytes_, 0, 0};
    CKPT_RETURN_IF_ERROR(load());  // populates the arena
    const auto evict = [this] {
      for (const DirectFile& file : files_) ::posix_fadvise(file.file().fd(), 0, 0, POSIX_FADV_DONTNEED);
      return Status::success();
    };
    unsigned best_threads = 4;
    double best = 0;
    for (unsigned threads = 1; threads <= 4; ++threads) {
      CKPT_RETURN_IF_ERROR(evict());
      CKPT_ASSIGN_OR_RETURN(const double time, timed([&] { return plain_reads(threads); }));
      if (best == 0 || time < best) {
        best = time;
        best_threads = threads;
      }
    }
    CKPT_RETURN_IF_ERROR(interleave(row, rounds_, evict, [this] { return load(); }, [&] { return plain_reads(best_threads); }));
    return row;
  }

  /// The same from the page cache, against memcpy, and against read(2), which no reader that fears a file cut under it gets around.
  Result<RateRow> reading_warm(bool against_copies) {
    RateRow row{"load, files in memory", against_copies ? "memcpy of the same bytes by as many threads" : "read(2) by as many threads", bytes_, 0, 0};
    CKPT_RETURN_IF_ERROR(load());
    CKPT_RETURN_IF_ERROR(buffered_reads());
    const auto limit = [&] { return against_copies ? plain_copies() : buffered_reads(); };
    CKPT_RETURN_IF_ERROR(interleave(row, rounds_, nullptr, [this] { return load(); }, limit));
    return row;
  }

  Result<RateRow> filling() {
    RateRow row{"pool to slot", "memcpy by as many threads", 0, 0, 0};
    CKPT_ASSIGN_OR_RETURN(const auto share, pool_->load(checkpoint_, layout_, 0, {}, deadline_, abort_, nullptr));
    CKPT_ASSIGN_OR_RETURN(const auto slot, device_->allocate(round_up(layout_.frames.frame_bytes, kTensorAlignment)));
    CKPT_ASSIGN_OR_RETURN(const auto stream, device_->create_stream());
    row.bytes = checkpoint_.total_bytes();
    const auto product = [&] { return fill_all_frames(*share, layout_.frames, *slot, *stream, deadline_, abort_); };
    const auto limit = [&] {
      for (std::uint32_t f = 0; f < layout_.frames.frames.size(); ++f) {
        const std::uint64_t bytes = layout_.frames.frames[f].bytes;
        const std::uint64_t part = round_up(bytes / threads_ + 1, 4096);
        CKPT_RETURN_IF_ERROR(parallel_for(threads_, threads_, [&](std::size_t i) {
          const std::uint64_t begin = std::min(i * part, bytes);
          std::memcpy(slot->data() + begin, buffer_.data() + begin, std::min(part, bytes - begin));
          return Status::success();
        }));
      }
      return Status::success();
    };
    CKPT_RETURN_IF_ERROR(interleave(row, rounds_, nullptr, product, limit));
    return row;
  }

 private:
  Status load() { return pool_->load(checkpoint_, layout_, 0, {}, deadline_, abort_, nullptr).status(); }
  Status buffered_reads() {
    return parallel_for(ranges_.size(), threads_,
                        [this](std::size_t i) { return files_[ranges_[i].file].file().read_all(ranges_[i].offset, piece(i)); });
  }
  std::span<std::byte> piece(std::size_t i) const { return buffer_.span().subspan(i * kPiece, ranges_[i].bytes); }
  Status plain_reads(unsigned threads) {
    return parallel_for(ranges_.size(), threads, [this](std::size_t i) {
      return plain_direct_read(direct_[ranges_[i].file].get(), ranges_[i].offset, buffer_.span().subspan(i * kPiece, kPiece));
    });
  }
  Status plain_copies() {
    if (copy_.data() == nullptr) {
      CKPT_ASSIGN_OR_RETURN(copy_, Mapping::anonymous(buffer_.bytes()));
      CKPT_RETURN_IF_ERROR(populate(copy_.span(), threads_));
    }
    return parallel_for(ranges_.size(), threads_, [this](std::size_t i) {
      std::memcpy(copy_.data() + i * kPiece, piece(i).data(), ranges_[i].bytes);
      return Status::success();
    });
  }

  const Checkpoint& checkpoint_;
  unsigned rounds_;
  Deadline deadline_;
  const AbortSignal& abort_;
  unsigned threads_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostPool> pool_;
  CheckpointLayout layout_;
  std::vector<DirectFile> files_;
  std::vector<UniqueFd> direct_;  ///< the same files, for the plain loop
  std::vector<Range> ranges_;
  std::uint64_t bytes_ = 0;
  Mapping buffer_;
  Mapping copy_;
};

}  // namespace

Result<std::vector<RateRow>> measure_host_rates(const Checkpoint& checkpoint, unsigned rounds, Deadline deadline, const AbortSignal& abort) {
  HostRates rates(checkpoint, std::max(rounds, 1u), deadline, abort);
  CKPT_RETURN_IF_ERROR(rates.prepare());
  std::vector<RateRow> rows;
  for (const auto& measure : {std::function([&] { return rates.populating(); }), std::function([&] { return rates.reading_cold(); }),
                              std::function([&] { return rates.reading_warm(false); }), std::function([&] { return rates.reading_warm(true); }),
                              std::function([&] { return rates.filling(); })}) {
    CKPT_RETURN_IF_ERROR(abort.check());
    CKPT_ASSIGN_OR_RETURN(RateRow row, measure());
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace ckpt
