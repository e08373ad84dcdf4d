#define XXH_INLINE_ALL
#include "receiver/slot_view.h"

#include <fcntl.h>
#include <xxhash.h>

#include "os/fd_passing.h"
#include "os/socket.h"

namespace ckpt {

Result<SlotView> SlotView::attach(const NativeHandle& handle, Deadline deadline, const AbortSignal& abort) {
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
  CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::shared(fd, handle.bytes, Access::read_only));
  return SlotView(std::move(mapping));
}

std::vector<ReceivedTensor> SlotView::tensors(NativeBucket& bucket) const {
  std::vector<ReceivedTensor> tensors;
  tensors.reserve(bucket.tensors.size());
  for (NativeTensor& tensor : bucket.tensors) {
    const std::uint64_t bytes = tensor.parameter.bytes;
    tensors.push_back({std::move(tensor.parameter), {mapping_.data() + tensor.offset_bytes, bytes}});
  }
  return tensors;
}

Status SlotView::verify(const NativeBucket& bucket) const {
  for (const UnitCheck& check : bucket.checks) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (const UnitCheck::Range& range : check.ranges) XXH3_64bits_update(&state, mapping_.data() + range.offset_bytes, range.bytes);
    if (const std::uint64_t digest = XXH3_64bits_digest(&state); digest != check.xxh3)
      return Status(StatusCode::data_corruption, Scope::peer, "bucket {}: the bytes of rank {} have digest {:016x} instead of {:016x}", bucket.index,
                    check.rank, digest, check.xxh3)
          .advise("memory or a link of that rank's host is faulty, or its checkpoint was changed while it was loaded");
  }
  return Status::success();
}

}  // namespace ckpt
