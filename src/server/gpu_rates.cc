#include "server/gpu_rates.h"

#include <algorithm>

#include "base/bytes.h"
#include "device/cuda/cuda_device.h"
#include "hostpool/host_pool.h"
#include "os/memory.h"
#include "os/threads.h"
#include "server/fill_slots.h"
#include "server/interleave.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kPlainCopy = 64 * MiB;

class GpuRates {
 public:
  GpuRates(const Checkpoint& checkpoint, unsigned rounds, Deadline deadline, const AbortSignal& abort)
      : checkpoint_(checkpoint), rounds_(rounds), deadline_(deadline), abort_(abort), threads_(std::min(usable_cores(), 16u)) {}

  Status prepare() {
    CKPT_ASSIGN_OR_RETURN(device_, make_cuda_device({}));
    CKPT_ASSIGN_OR_RETURN(stream_, device_->create_stream());
    layout_.parameters = checkpoint_.parameters;
    CKPT_ASSIGN_OR_RETURN(layout_.frames, make_striped_layout(layout_.parameters, 1, {256 * MiB, 32 * MiB}));
    return Status::success();
  }

  Result<RateRow> loading() {
    RateRow row{"load into fresh memory", "populate and register as much memory", checkpoint_.total_bytes(), 0, 0};
    const auto product = [this] {
      const auto pool = make_host_pool(*device_);
      return load(*pool).status();
    };
    const auto limit = [this, &row]() -> Status {
      CKPT_ASSIGN_OR_RETURN(const Mapping memory, Mapping::anonymous(row.bytes));
      CKPT_RETURN_IF_ERROR(populate(memory.span(), threads_));
      CKPT_RETURN_IF_ERROR(device_->register_host(memory.span(), Access::read_write));
      device_->unregister_host(memory.span());
      return Status::success();
    };
    CKPT_RETURN_IF_ERROR(interleave(row, rounds_, nullptr, product, limit));
    return row;
  }

  Result<RateRow> filling() {
    RateRow row{"pool to slot on the GPU", "copies of 64 MiB from registered memory", checkpoint_.total_bytes(), 0, 0};
    const auto pool = make_host_pool(*device_);
    CKPT_ASSIGN_OR_RETURN(const auto share, load(*pool));
    CKPT_ASSIGN_OR_RETURN(const auto slot, device_->allocate(round_up(layout_.frames.frame_bytes, kTensorAlignment)));
    CKPT_ASSIGN_OR_RETURN(const Mapping plain, Mapping::anonymous(kPlainCopy));
    CKPT_RETURN_IF_ERROR(populate(plain.span(), threads_));
    CKPT_RETURN_IF_ERROR(device_->register_host(plain.span(), Access::read_write));
    const auto product = [&] { return fill_all_frames(*share, layout_.frames, *slot, *stream_, deadline_, abort_); };
    const auto limit = [&]() -> Status {
      for (std::uint64_t done = 0; done < row.bytes; done += kPlainCopy) {
        const std::uint64_t bytes = std::min({kPlainCopy, row.bytes - done, slot->bytes()});
        CKPT_RETURN_IF_ERROR(stream_->copy_from_host(slot->data(), plain.span().first(bytes)));
      }
      return settle();
    };
    const Status measured = interleave(row, rounds_, nullptr, product, limit);
    device_->unregister_host(plain.span());
    CKPT_RETURN_IF_ERROR(measured);
    return row;
  }

 private:
  Result<std::unique_ptr<PoolShare>> load(HostPool& pool) {
    LoadOptions options;
    options.memory_threads = threads_;
    return pool.load(checkpoint_, layout_, 0, options, deadline_, abort_, nullptr);
  }
  Status settle() {
    CKPT_ASSIGN_OR_RETURN(const auto event, stream_->record());
    return event->wait(deadline_, abort_);
  }

  const Checkpoint& checkpoint_;
  unsigned rounds_;
  Deadline deadline_;
  const AbortSignal& abort_;
  unsigned threads_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceStream> stream_;
  CheckpointLayout layout_;
};

}  // namespace

Result<std::vector<RateRow>> measure_gpu_rates(const Checkpoint& checkpoint, unsigned rounds, Deadline deadline, const AbortSignal& abort) {
  GpuRates rates(checkpoint, std::max(rounds, 1u), deadline, abort);
  CKPT_RETURN_IF_ERROR(rates.prepare());
  std::vector<RateRow> rows(2);
  CKPT_ASSIGN_OR_RETURN(rows[0], rates.loading());
  CKPT_ASSIGN_OR_RETURN(rows[1], rates.filling());
  return rows;
}

}  // namespace ckpt
