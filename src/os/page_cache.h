/// Whether a file's bytes are in the page cache, asked without bringing them there.
#pragma once

#include <cstdint>

#include "os/file.h"
#include "os/shared_memory.h"

namespace ckpt {

/// Asks for ranges of one file, which must outlive it. Thread-safe.
///
/// The kernel tells it truthfully (mincore) to those who own the file or may write it; to others it claims that every page is there. Those try
/// pages at random with reads that must not block; each miss brings that one page in, which the next question is unlikely to meet.
class PageCache {
 public:
  explicit PageCache(const File& file);

  /// Whether nearly all of the range (> 0 bytes) can be read without the disk. False where it is not known.
  [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const;

 private:
  [[nodiscard]] bool counted(std::uint64_t offset, std::uint64_t bytes) const;
  [[nodiscard]] bool sampled(std::uint64_t offset, std::uint64_t bytes) const;
  int fd_;
  Mapping pages_;  // never touched: only for mincore; empty where its answer is not true
};

}  // namespace ckpt
