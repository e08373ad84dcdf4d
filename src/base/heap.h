/// How much of this process's heap is in use: own memory is counted, not estimated.
#pragma once

#include <cstdint>

namespace ckpt {

/// Bytes that malloc has given out and not got back, of all threads. Costs a walk over malloc's arenas: not for hot paths.
[[nodiscard]] std::uint64_t heap_in_use();

/// Counts what libraries that were loaded at run time (the CUDA driver, NCCL) take of the heap for themselves while they start, from construction to
/// the end. What this process allocates at the same time in other threads is counted with it: a few MB at most, while a checkpoint is read.
/// Thread-safe.
class LibraryHeapScope {
 public:
  LibraryHeapScope() : before_(heap_in_use()) {}
  ~LibraryHeapScope();
  LibraryHeapScope(const LibraryHeapScope&) = delete;
  LibraryHeapScope& operator=(const LibraryHeapScope&) = delete;

 private:
  std::uint64_t before_;
};

/// Of all scopes so far.
[[nodiscard]] std::uint64_t library_heap();

}  // namespace ckpt
