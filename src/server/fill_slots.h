/// Every run of a share, copied into one slot: what `bench` measures of the fill.
#pragma once

#include "base/deadline.h"
#include "hostpool/host_pool.h"

namespace ckpt {

/// Queues the copies of all frames on `stream`, each frame over the one before, and waits until they are done.
[[nodiscard]] inline Status fill_all_frames(const PoolShare& share, const FrameLayout& frames, DeviceBuffer& slot, DeviceStream& stream,
                                            Deadline deadline, const AbortSignal& abort) {
  for (std::uint32_t frame = 0; frame < frames.frames.size(); ++frame)
    for (std::uint32_t stripe = 0; stripe < frames.frames[frame].stripes.size(); ++stripe)
      for (const CopyRun& run : share.runs(frame, stripe))
        CKPT_RETURN_IF_ERROR(stream.copy_from_host(slot.data() + run.frame_offset_bytes, {run.source, run.bytes}));
  CKPT_ASSIGN_OR_RETURN(const auto event, stream.record());
  return event->wait(deadline, abort);
}

}  // namespace ckpt
