#include "base/heap.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>

namespace ckpt {
namespace {

std::atomic<std::uint64_t> library_bytes{0};

}  // namespace

std::uint64_t heap_in_use() {
  const struct mallinfo2 heap = ::mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

LibraryHeapScope::~LibraryHeapScope() {
  const std::uint64_t now = heap_in_use();
  library_bytes += now - std::min(now, before_);
}

std::uint64_t library_heap() { return library_bytes; }

}  // namespace ckpt
