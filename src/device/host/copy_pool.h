/// Threads that share copies in host memory: what a GPU's copy engines are to CUDA.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"

namespace ckpt {

/// One memcpy.
struct HostCopy {
  std::byte* destination;
  const std::byte* source;
  std::size_t bytes;
};

/// Carries out batches of copies in pieces of about 2 MiB: large copies are cut, small ones go together.
///   copies   |a         |b|c|d  |e              |
///   pieces   |a1   |a2  +b+c+d  |e1     |e2     |        each taken by the next free thread, the caller among them
/// Thread-safe; `num_threads` counts the caller: with 1 there is no other thread.
class CopyPool {
 public:
  explicit CopyPool(unsigned num_threads);
  ~CopyPool();
  CopyPool(const CopyPool&) = delete;
  CopyPool& operator=(const CopyPool&) = delete;

  /// Returns when all of it is done. The copies must not touch each other: they run in any order.
  void copy(std::span<const HostCopy> copies) CKPT_EXCLUDES(mutex_);

 private:
  struct Piece {
    std::size_t copy;    ///< index of the first one
    std::size_t offset;  ///< in it
    std::size_t bytes;   ///< over it and those after it
  };
  struct Batch {
    std::span<const HostCopy> copies;
    std::vector<Piece> pieces;
    std::size_t next = 0;  // not yet taken
    std::size_t left = 0;  // not yet done
  };
  static std::vector<Piece> cut(std::span<const HostCopy> copies);
  static void run(std::span<const HostCopy> copies, const Piece& piece);
  /// Takes pieces of `batch` until none is left to take. Holds the mutex on entry and at the end.
  void work_on(Batch& batch) CKPT_REQUIRES(mutex_);
  void loop() CKPT_EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable has_work_;
  ConditionVariable done_;
  std::deque<Batch*> open_ CKPT_GUARDED_BY(mutex_);  // with pieces left to take
  bool quit_ CKPT_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace ckpt
