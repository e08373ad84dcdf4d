#include "plan/slots.h"

#include <algorithm>

#include "base/bytes.h"

namespace ckpt {
namespace {

/// Slots larger than this are two at most: a third would cost an engine more memory than its workers' jitter is worth.
constexpr std::uint64_t kLargeSlot = GiB;

/// The tensor that makes frames larger than the wanted bucket; null where the bucket sets their size.
const Parameter* tensor_that_sets_frames(const CheckpointLayout& layout) {
  const auto largest =
      std::max_element(layout.parameters.begin(), layout.parameters.end(), [](const Parameter& a, const Parameter& b) { return a.bytes < b.bytes; });
  return largest != layout.parameters.end() && largest->bytes > layout.frames.options.bucket_bytes ? &*largest : nullptr;
}

}  // namespace

std::uint64_t slot_bytes_of(const FrameLayout& frames) { return std::max(frames.frame_bytes, kTensorAlignment); }

SlotChoice choose_slots(const FrameLayout& frames, const MemoryBudget& budget) {
  const auto tightest = std::min_element(budget.free_bytes.begin(), budget.free_bytes.end());
  const std::uint64_t usable = budget.limit_bytes == 0 ? *tightest : std::min(*tightest, budget.limit_bytes);
  const std::uint32_t wanted = slot_bytes_of(frames) > kLargeSlot ? std::min(budget.max_slots, 2u) : budget.max_slots;
  const std::uint64_t useful = std::clamp<std::uint64_t>(frames.frames.size(), 1, std::max(wanted, 1u));
  const auto num_slots = static_cast<std::uint32_t>(std::min(usable / slot_bytes_of(frames), useful));
  return {num_slots, static_cast<std::uint32_t>(tightest - budget.free_bytes.begin()), usable};
}

Status check_slots(const CheckpointLayout& layout, const MemoryBudget& budget, const SlotChoice& choice) {
  if (choice.num_slots > 0) return Status::success();
  const std::uint64_t needed = slot_bytes_of(layout.frames);
  const Parameter* tensor = tensor_that_sets_frames(layout);
  const bool limit_decides = budget.limit_bytes != 0 && budget.limit_bytes < needed;
  const std::string_view bucket_size = tensor == nullptr ? " or lower --bucket-size" : "";
  return Status(StatusCode::resource_exhausted, Scope::group, "one slot needs {} bytes and {} allows {}: {} bytes are missing; {}", needed,
                limit_decides ? "--memory-limit" : fmt::format("the memory of rank {}", choice.tightest_rank), choice.usable_bytes,
                needed - choice.usable_bytes,
                tensor != nullptr ? fmt::format("the largest tensor, {}, takes {} bytes", tensor->name, tensor->bytes)
                                  : fmt::format("the wanted bucket of {} bytes sets its size", layout.frames.options.bucket_bytes))
      .advise(fmt::format("{}{}", limit_decides ? "raise --memory-limit" : "free device memory on that rank", bucket_size));
}

}  // namespace ckpt
