/// What an update will do, before it runs: which bytes move, in which order, who sends them, into how many slots. Pure: no I/O, no clock.
///
///   frame    |stripe 0: r0 r1 r2 r3|stripe 1: r0 r1 r2 r3|…     rank r fills its unit of every stripe from its pool
///   slot     frame % num_slots; one in-place all-gather (or grouped broadcasts) per stripe
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "manifest/manifest.h"

namespace ckpt {

/// Which ranks drive which engine. Ranks are divided into groups of `inference_parallel_size` in rank order.
struct Topology {
  std::uint32_t num_ranks = 1;
  std::uint32_t inference_parallel_size = 1;  ///< divides num_ranks
  std::vector<std::string> hosts;             ///< per rank; equal text = same host
  std::vector<bool> drives_engine;            ///< per group: whether an engine is attached; the others only hold and send
};

/// Bounds of the device buffer of a rank. The plan uses the smallest free memory of all ranks, so that all agree.
struct MemoryBudget {
  std::vector<std::uint64_t> free_bytes;  ///< per rank
  std::uint64_t limit_bytes = 0;          ///< user's bound; 0: none
  std::uint32_t max_slots = 3;
};

/// Rates for the predicted time, in bytes per second; 0: unknown, left out of the prediction.
struct LinkRates {
  double fill = 0;      ///< pool to slot, per rank
  double exchange = 0;  ///< between ranks, bytes received per rank
  double apply = 0;     ///< slot to the engine's memory, per worker
};

/// Immutable; equal inputs give equal plans on every rank. Carries the bucket channel; direct runs will stand beside `layout` (docs/architecture.md).
struct Plan {
  std::string checkpoint;
  std::shared_ptr<const CheckpointLayout> layout;
  Topology topology;
  std::uint32_t num_slots = 0;
  std::uint64_t slot_bytes = 0;       ///< num_slots × slot_bytes is the device buffer
  std::vector<std::string> warnings;  ///< what a smaller layout costs, one sentence each

  [[nodiscard]] std::uint32_t slot_of(std::uint32_t frame) const { return frame % num_slots; }
  [[nodiscard]] std::uint64_t buffer_bytes() const { return num_slots * slot_bytes; }
};

/// From all ranks' manifests (index = rank; all of one layout), the topology and the memory. Errors, before anything is started:
///   invalid_argument    manifests missing, of different checkpoints or layouts; inference_parallel_size does not divide; a dtype engines cannot take
///   resource_exhausted  the memory of some rank cannot take one slot; says the needed size and the tensor or option that sets it
/// Cost: 140,000 tensors on 8 ranks well under 200 ms.
[[nodiscard]] Result<Plan> make_plan(std::span<const Manifest> manifests, const Topology& topology, const MemoryBudget& budget);

/// Digest of everything a plan and its buckets depend on: while it stays equal, a cached plan holds. Of the memory only the number of slots counts
/// that it allows. `layout_digests`: of each rank's layout, taken once when it was made; so a warm update looks at no tensor. Cost: microseconds, and
/// nanoseconds a unit digest.
[[nodiscard]] std::uint64_t plan_key(std::span<const Manifest> manifests, std::span<const std::uint64_t> layout_digests, const Topology& topology,
                                     const MemoryBudget& budget);

/// For people: totals, then a table of what each rank fills, receives and hands over.
[[nodiscard]] std::string plan_text(const Plan& plan, const LinkRates& rates);
/// The same as one JSON document, for `--json`.
[[nodiscard]] std::string plan_json(const Plan& plan, const LinkRates& rates);

}  // namespace ckpt
