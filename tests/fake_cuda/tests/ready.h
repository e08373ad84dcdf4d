/// Polling a communicator, as every caller of a non-blocking one does.
#pragma once

#include <chrono>
#include <thread>

#include "nccl/nccl_exports.h"

namespace ckpt::fake {

/// Polls while it is in progress, at most 20 s; whether it succeeded.
inline bool becomes_ready(NcclComm comm) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  NcclResult state = NcclResult::in_progress;
  while (ncclCommGetAsyncError(comm, &state) == NcclResult::success && state == NcclResult::in_progress && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  return state == NcclResult::success;
}

}  // namespace ckpt::fake
