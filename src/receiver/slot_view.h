/// The sender's buffer as the worker sees it: mapped read-only, its size checked, the bytes of a bucket as tensors.
#pragma once

#include <string>
#include <vector>

#include "channel/native_codec.h"
#include "os/shared_memory.h"
#include "receiver/receiver.h"

namespace ckpt {

/// A mapped buffer. Its size cannot change under us: the memfd is sealed, and that is checked.
class SlotView {
 public:
  /// Asks the sender for the memory behind `handle` and maps it. data_corruption: smaller than announced, or not sealed.
  [[nodiscard]] static Result<SlotView> attach(const NativeHandle& handle, Deadline deadline, const AbortSignal& abort);

  /// The tensors of `bucket`, whose placement has been checked. Valid until the view ends or the bucket is answered.
  [[nodiscard]] std::vector<ReceivedTensor> tensors(NativeBucket& bucket) const;
  /// ok if the bytes have the digests that came with the bucket; data_corruption names the rank that sent what differs.
  [[nodiscard]] Status verify(const NativeBucket& bucket) const;
  [[nodiscard]] std::uint64_t bytes() const { return mapping_.bytes(); }

 private:
  explicit SlotView(Mapping mapping) : mapping_(std::move(mapping)) {}
  Mapping mapping_;
};

}  // namespace ckpt
