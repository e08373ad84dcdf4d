/// How many slots of a frame's size the memory of all ranks allows.
#pragma once

#include "manifest/manifest.h"
#include "plan/plan.h"

namespace ckpt {

struct SlotChoice {
  std::uint32_t num_slots;      ///< what an update uses; 0: not even one fits
  std::uint32_t tightest_rank;  ///< whose memory decides
  std::uint64_t usable_bytes;   ///< what that rank, or the user's bound, allows
};

/// What a slot must take: the largest frame, at least 256 bytes.
[[nodiscard]] std::uint64_t slot_bytes_of(const FrameLayout& frames);

/// As many as memory and `max_slots` allow, but no more than there are frames, and no more than two that are larger than 1 GiB. `budget` names at
/// least one rank.
[[nodiscard]] SlotChoice choose_slots(const FrameLayout& frames, const MemoryBudget& budget);

/// ok, or why there is no slot: sizes, rank, the tensor that sets the size, and what to change.
[[nodiscard]] Status check_slots(const CheckpointLayout& layout, const MemoryBudget& budget, const SlotChoice& choice);

}  // namespace ckpt
