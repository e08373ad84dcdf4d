/// The sender's buffer as the worker sees it: host memory mapped read-only, or a GPU's memory of which a bucket at a time is copied to the host.
#pragma once

#include <memory>
#include <vector>

#include "channel/native_codec.h"
#include "device/cuda/peer_buffer.h"
#include "os/shared_memory.h"
#include "os/unique_fd.h"
#include "receiver/receiver.h"

namespace ckpt {

/// Host memory cannot change its size under us: the memfd is sealed, and that is checked. Of a GPU's, what lies outside cannot be copied.
class SlotView {
 public:
  /// Asks the sender for the memory behind `handle` and maps it. data_corruption: smaller than announced, or not sealed. Else as PeerBuffer::open.
  [[nodiscard]] static Result<SlotView> attach(const NativeHandle& handle, Deadline deadline, const AbortSignal& abort);

  /// Makes the bytes of `bucket`, whose placement has been checked, readable here. Before tensors() and verify().
  [[nodiscard]] Status fetch(const NativeBucket& bucket, Deadline deadline, const AbortSignal& abort);
  /// The tensors of the bucket that was fetched. Valid until the view ends or the bucket is answered.
  [[nodiscard]] std::vector<ReceivedTensor> tensors(NativeBucket& bucket) const;
  /// ok if the bytes have the digests that came with the bucket; data_corruption names the rank that sent what differs, and
  /// the tensors that it may be in.
  [[nodiscard]] Status verify(const NativeBucket& bucket) const;
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// Host memory as it is mapped here, and its descriptor: null and -1 of a GPU's.
  [[nodiscard]] const std::byte* host_memory() const { return gpu_ ? nullptr : mapping_.data(); }
  [[nodiscard]] int host_fd() const { return fd_.get(); }

 private:
  SlotView() = default;
  [[nodiscard]] Status map_host_memory(const NativeHandle& handle, Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] const std::byte* at(std::uint64_t offset_bytes) const { return mapping_.data() + (offset_bytes - window_begin_); }

  std::uint64_t bytes_ = 0;
  std::unique_ptr<PeerBuffer> gpu_;  // null: host memory
  UniqueFd fd_;                      // of host memory
  Mapping mapping_;                  // the buffer, or as much memory as the largest bucket so far took
  std::uint64_t window_begin_ = 0;   // where in the buffer the bytes of mapping_ begin
};

}  // namespace ckpt
