#include "hostpool/arena.h"

#include <algorithm>

#include "os/limits.h"

namespace ckpt {

Result<std::unique_ptr<PoolArena>> ArenaStore::take(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  std::sort(free_.begin(), free_.end(), [](const auto& a, const auto& b) { return a->memory().size() < b->memory().size(); });
  const auto fits = std::find_if(free_.begin(), free_.end(), [bytes](const auto& arena) { return arena->memory().size() >= bytes; });
  if (fits != free_.end()) {
    std::unique_ptr<PoolArena> arena = std::move(*fits);
    free_.erase(fits);
    lent_bytes_ += arena->memory().size();
    return arena;
  }
  free_.clear();
  CKPT_RETURN_IF_ERROR(check_memory(bytes, "the host pool"));
  CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::anonymous(bytes));
  lent_bytes_ += mapping.bytes();
  return std::make_unique<PoolArena>(*device_, std::move(mapping));
}

void ArenaStore::give_back(std::unique_ptr<PoolArena> arena) {
  const MutexLock lock(mutex_);
  lent_bytes_ -= arena->memory().size();
  if (arena->resident()) free_.push_back(std::move(arena));
}

std::uint64_t ArenaStore::reserved_bytes() const {
  const MutexLock lock(mutex_);
  std::uint64_t bytes = lent_bytes_;
  for (const auto& arena : free_) bytes += arena->memory().size();
  return bytes;
}

void ArenaStore::free_unused() {
  const MutexLock lock(mutex_);
  free_.clear();
}

}  // namespace ckpt
