/// Copies that may run in any order, collected while they are queued.
#pragma once

#include <span>
#include <vector>

#include "device/host/copy_pool.h"

namespace ckpt {

/// A row of copies of which none writes what another reads or writes. Made for runs that fill a unit: their destinations rise.
class DisjointCopies {
 public:
  /// Takes `copy` (> 0 bytes) unless it might touch one that is there, or lies below it: then false, and nothing has changed.
  [[nodiscard]] bool add(const HostCopy& copy);
  [[nodiscard]] std::span<const HostCopy> copies() const { return copies_; }
  void clear();

 private:
  struct Range {
    const std::byte* begin = nullptr;
    const std::byte* end = nullptr;
    [[nodiscard]] bool meets(const std::byte* data, std::size_t bytes) const { return data < end && begin < data + bytes; }
    void include(const std::byte* data, std::size_t bytes);
  };
  [[nodiscard]] bool is_read(const HostCopy& copy) const;

  std::vector<HostCopy> copies_;
  Range written_;  // from the first destination to the end of the last
  Range read_;     // spans all sources
};

}  // namespace ckpt
