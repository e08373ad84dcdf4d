/// Work split over short-lived threads, and how many are worth starting.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>

#include "ckpt/result.h"

namespace ckpt {

/// Cores that this process may use: affinity and cgroup quota, at least 1.
[[nodiscard]] unsigned usable_cores();

/// Runs `work(index)` for 0 … count-1 on at most `threads` threads (this one among them), each taking the next index. After a failure no new
/// index is taken; returns the failure of the lowest index. `work` must be thread-safe.
[[nodiscard]] Status parallel_for(std::size_t count, unsigned threads, const std::function<Status(std::size_t)>& work);

/// A thread, or resource_exhausted naming `what` it was for: a limit on processes or address space leaves none.
[[nodiscard]] Result<std::thread> start_thread(const char* what, std::function<void()> work);

}  // namespace ckpt
