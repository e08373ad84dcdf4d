#include "hostpool/arena.h"

#include <algorithm>

#include "os/limits.h"

namespace ckpt {

namespace {

/// Whether fresh memory for all that ask at this time leaves an eighth of it to whatever else the machine does. A process without a limit of its own
/// is told by an out-of-memory kill otherwise.
bool memory_is_scarce(const ArenaRequest& request) {
  const std::uint64_t bytes = request.bytes * request.num_sharing;
  return bytes + bytes / 8 > std::min(hard_memory_bound().bytes, available_memory());
}

}  // namespace

Result<std::unique_ptr<PoolArena>> ArenaStore::take(const ArenaRequest& request) {
  std::unique_ptr<PoolArena> arena = take_free(request.bytes);
  while (!arena && request.give_up && memory_is_scarce(request) && request.give_up()) arena = take_free(request.bytes);
  if (arena) return arena;
  CKPT_RETURN_IF_ERROR(check_memory(request.bytes, "the host pool"));
  CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::anonymous(request.bytes));
  const MutexLock lock(mutex_);
  lent_bytes_ += mapping.bytes();
  ++num_made_;
  return std::make_unique<PoolArena>(*device_, std::move(mapping));
}

/// Null where none is large enough; none is left then.
std::unique_ptr<PoolArena> ArenaStore::take_free(std::uint64_t bytes) {
  const MutexLock lock(mutex_);
  std::sort(free_.begin(), free_.end(), [](const auto& a, const auto& b) { return a->memory().size() < b->memory().size(); });
  const auto fits = std::find_if(free_.begin(), free_.end(), [bytes](const auto& arena) { return arena->memory().size() >= bytes; });
  if (fits == free_.end()) {
    free_.clear();
    return nullptr;
  }
  std::unique_ptr<PoolArena> arena = std::move(*fits);
  free_.erase(fits);
  lent_bytes_ += arena->memory().size();
  return arena;
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

std::uint32_t ArenaStore::num_made() const {
  const MutexLock lock(mutex_);
  return num_made_;
}

void ArenaStore::free_unused() {
  const MutexLock lock(mutex_);
  free_.clear();
}

}  // namespace ckpt
