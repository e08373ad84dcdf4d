#include "receiver/slot_view.h"

#include <fcntl.h>

#include <algorithm>
#include <limits>

#include "manifest/xxh3.h"
#include "os/fd_passing.h"
#include "os/socket.h"

namespace ckpt {
namespace {

struct Range {
  std::uint64_t begin = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t end = 0;
  void cover(std::uint64_t offset, std::uint64_t bytes) {
    begin = std::min(begin, offset);
    end = std::max(end, offset + bytes);
  }
};

/// From the first to the last byte of a bucket: one slot at most.
Range range_of(const NativeBucket& bucket) {
  Range range;
  for (const NativeTensor& tensor : bucket.tensors) range.cover(tensor.offset_bytes, tensor.parameter.bytes);
  for (const UnitCheck& check : bucket.checks)
    for (const UnitCheck::Range& part : check.ranges) range.cover(part.offset_bytes, part.bytes);
  return range;
}

/// Those of which a part is in the ranges, for the error's text: the first, and how many more.
std::string tensors_in(const UnitCheck& check, const NativeBucket& bucket) {
  const auto is_in = [&](const NativeTensor& tensor) {
    return std::any_of(check.ranges.begin(), check.ranges.end(), [&](const UnitCheck::Range& range) {
      return tensor.offset_bytes < range.offset_bytes + range.bytes && range.offset_bytes < tensor.offset_bytes + tensor.parameter.bytes;
    });
  };
  const auto first = std::find_if(bucket.tensors.begin(), bucket.tensors.end(), is_in);
  if (first == bucket.tensors.end()) return "no tensor";
  const auto more = std::count_if(first + 1, bucket.tensors.end(), is_in);
  return more == 0 ? "tensor " + first->parameter.name : fmt::format("tensor {} or the {} after it", first->parameter.name, more);
}

}  // namespace

Result<SlotView> SlotView::attach(const NativeHandle& handle, Deadline deadline, const AbortSignal& abort) {
  SlotView view;
  view.bytes_ = handle.bytes;
  if (handle.cuda_ipc_handle.empty()) {
    CKPT_RETURN_IF_ERROR(view.map_host_memory(handle, deadline, abort));
  } else {
    CKPT_ASSIGN_OR_RETURN(view.gpu_, PeerBuffer::open(handle.device_key, handle.cuda_ipc_handle));
  }
  return view;
}

Status SlotView::map_host_memory(const NativeHandle& handle, Deadline deadline, const AbortSignal& abort) {
  CKPT_ASSIGN_OR_RETURN(const Socket socket, Socket::connect_unix(handle.fd_socket, deadline, abort));
  CKPT_ASSIGN_OR_RETURN(ReceivedFds received, receive_fds(socket.fd(), 64, deadline, abort));
  if (received.fds.size() != 1)
    return Status(StatusCode::data_corruption, Scope::peer, "{} descriptors came with the buffer instead of one", received.fds.size());
  const int fd = received.fds[0].get();
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t bytes, size_of(fd));
  if (handle.bytes == 0 || bytes < handle.bytes)
    return Status(StatusCode::data_corruption, Scope::peer, "the buffer has {} bytes and {} were announced", bytes, handle.bytes);
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return Status(StatusCode::data_corruption, Scope::peer, "the buffer is not sealed: it could shrink while it is read");
  CKPT_ASSIGN_OR_RETURN(mapping_, Mapping::shared(fd, handle.bytes, Access::read_only));
  fd_ = std::move(received.fds[0]);
  return Status::success();
}

Status SlotView::fetch(const NativeBucket& bucket, Deadline deadline, const AbortSignal& abort) {
  const Range range = range_of(bucket);
  if (!gpu_ || range.end <= range.begin) return Status::success();
  const std::uint64_t bytes = range.end - range.begin;
  if (mapping_.bytes() < bytes) {
    mapping_ = Mapping();  // first: two need not be there at once
    CKPT_ASSIGN_OR_RETURN(mapping_, Mapping::anonymous(bytes));
  }
  window_begin_ = range.begin;
  return gpu_->copy_to_host(mapping_.span().first(bytes), range.begin, deadline, abort)
      .with_note("bucket {}: {} bytes from the GPU", bucket.index, bytes);
}

std::vector<ReceivedTensor> SlotView::tensors(NativeBucket& bucket) const {
  std::vector<ReceivedTensor> tensors;
  tensors.reserve(bucket.tensors.size());
  for (NativeTensor& tensor : bucket.tensors) {
    const std::uint64_t bytes = tensor.parameter.bytes;
    tensors.push_back({std::move(tensor.parameter), bytes == 0 ? std::span<const std::byte>() : std::span(at(tensor.offset_bytes), bytes)});
  }
  return tensors;
}

Status SlotView::verify(const NativeBucket& bucket) const {
  for (const UnitCheck& check : bucket.checks) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (const UnitCheck::Range& range : check.ranges)
      if (range.bytes > 0) XXH3_64bits_update(&state, at(range.offset_bytes), range.bytes);
    if (const std::uint64_t digest = XXH3_64bits_digest(&state); digest != check.xxh3)
      return Status(StatusCode::data_corruption, Scope::peer, "bucket {}, in {}: the bytes of rank {} have digest {:016x} instead of {:016x}",
                    bucket.index, tensors_in(check, bucket), check.rank, digest, check.xxh3)
          .advise("memory or a link of that rank's host is faulty, or its checkpoint was changed while it was loaded");
  }
  return Status::success();
}

}  // namespace ckpt
