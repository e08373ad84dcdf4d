/// Threads that share large copies in host memory: what a GPU's copy engines are to CUDA.
#pragma once

#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"

namespace ckpt {

/// `num_threads` counts the caller: with 1 there is no other thread. Thread-safe.
class CopyPool {
 public:
  explicit CopyPool(unsigned num_threads);
  ~CopyPool();
  CopyPool(const CopyPool&) = delete;
  CopyPool& operator=(const CopyPool&) = delete;

  /// memcpy of `bytes`; returns when all of it is done. Split over the threads where that pays.
  void copy(std::byte* destination, const std::byte* source, std::size_t bytes) CKPT_EXCLUDES(mutex_);

 private:
  struct Batch {
    std::size_t left;
  };
  struct Piece {
    std::byte* destination;
    const std::byte* source;
    std::size_t bytes;
    Batch* batch;
  };
  void loop() CKPT_EXCLUDES(mutex_);
  void finish(const Piece& piece) CKPT_EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<Piece> pieces_ CKPT_GUARDED_BY(mutex_);
  bool quit_ CKPT_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace ckpt
