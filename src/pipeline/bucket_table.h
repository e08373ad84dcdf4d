/// What each frame looks like to a worker, worked out once per plan so that a warm update does no per-tensor work.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "channel/bucket_session.h"
#include "manifest/manifest.h"
#include "plan/plan.h"

namespace ckpt {

/// One frame in its slot. `tensors` borrows the plan's parameters.
struct Bucket {
  std::uint64_t slot_offset_bytes = 0;  ///< of the frame in the device buffer
  std::uint64_t tensor_bytes = 0;
  std::vector<PlacedTensor> tensors;
  std::vector<UnitCheck> checks;  ///< of all ranks' units that hold tensor bytes; empty without digests
  std::string pickle;             ///< what a session offers, by the worker's kind; empty before encode()
  std::string native;
  [[nodiscard]] const std::string& message(Dialect dialect) const { return dialect == Dialect::native ? native : pickle; }
};

/// One bucket a frame. Immutable once encoded; must not outlive the plan's layout.
class BucketTable {
 public:
  /// `digests_of_rank[r]` are rank r's unit digests; all empty: nothing is verified. invalid_argument if some ranks gave digests and some did not,
  /// or a digest names a unit that the plan does not have.
  [[nodiscard]] static Result<BucketTable> create(const Plan& plan, std::span<const std::span<const UnitDigest>> digests_of_rank);

  /// Works out the messages for sessions of `dialect` (automatic: those for both kinds of workers); nothing if they are there already.
  void encode(Dialect dialect);

  [[nodiscard]] const Bucket& bucket(std::uint32_t frame) const { return buckets_[frame]; }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(buckets_.size()); }

 private:
  std::vector<Bucket> buckets_;
  bool has_pickles_ = false;
  bool has_native_ = false;
};

}  // namespace ckpt
