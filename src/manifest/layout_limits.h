/// What a layout may hold at most. Sizes come from checkpoint headers and metas files, which may be wrong or hostile: they are bounded before memory
/// for their description is taken.
#pragma once

#include <cstdint>
#include <span>

#include "ckpt/status.h"
#include "manifest/parameter.h"

namespace ckpt {

inline constexpr std::uint64_t kMostLayoutBytes = std::uint64_t{1} << 62;
inline constexpr std::uint32_t kMostRanks = 1u << 20;

/// Counts the units of a layout while it is made: one stripe of N ranks takes N numbers and a little more.
class UnitBudget {
 public:
  explicit UnitBudget(std::uint32_t num_ranks) : cost_of_stripe_(std::uint64_t{num_ranks} + 8) {}
  /// invalid_argument when `num_stripes` more would be too many.
  [[nodiscard]] Status take(std::uint64_t num_stripes);

 private:
  static constexpr std::uint64_t kMostCost = 1u << 23;  // 64 MiB; 1 TB over 1024 ranks in frames of 256 MiB takes half of it
  std::uint64_t cost_of_stripe_;
  std::uint64_t left_ = kMostCost;
};

/// ok if no sum of aligned sizes and no index of a layout can wrap.
[[nodiscard]] Status check_layout_sizes(std::span<const Parameter> parameters, std::uint32_t num_ranks);

/// The most bytes of a frame: the wanted bucket or the largest tensor.
[[nodiscard]] std::uint64_t most_frame_bytes(std::span<const Parameter> parameters, std::uint64_t bucket_bytes);

}  // namespace ckpt
