#include "device/host/disjoint_copies.h"

#include <algorithm>

namespace ckpt {

bool DisjointCopies::add(const HostCopy& copy) {
  const bool rises = copies_.empty() || copy.destination >= written_.end;
  if (!rises || written_.meets(copy.source, copy.bytes) || is_read(copy)) return false;
  copies_.push_back(copy);
  written_.include(copy.destination, copy.bytes);
  read_.include(copy.source, copy.bytes);
  return true;
}

void DisjointCopies::clear() {
  copies_.clear();
  written_ = {};
  read_ = {};
}

void DisjointCopies::Range::include(const std::byte* data, std::size_t bytes) {
  begin = begin == nullptr ? data : std::min(begin, data);
  end = end == nullptr ? data + bytes : std::max(end, data + bytes);
}

/// Whether the destination of `copy` is a source here. The span of all sources says no for slots and pools, which lie apart.
bool DisjointCopies::is_read(const HostCopy& copy) const {
  if (!read_.meets(copy.destination, copy.bytes)) return false;
  return std::any_of(copies_.begin(), copies_.end(),
                     [&copy](const HostCopy& other) { return Range{other.source, other.source + other.bytes}.meets(copy.destination, copy.bytes); });
}

}  // namespace ckpt
