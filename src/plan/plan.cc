#include "plan/plan.h"

#include "base/bytes.h"
#include "plan/slots.h"

namespace ckpt {
namespace {

bool same_layout(const Manifest& a, const Manifest& b) {
  return a.layout == b.layout || (a.layout != nullptr && b.layout != nullptr && digest(*a.layout) == digest(*b.layout));
}

Status check_manifests(std::span<const Manifest> manifests, const Topology& topology) {
  if (manifests.empty() || manifests.size() != topology.num_ranks)
    return {StatusCode::invalid_argument, Scope::operation, "{} manifests for {} ranks", manifests.size(), topology.num_ranks};
  const Manifest& first = manifests[0];
  if (first.layout == nullptr || first.layout->frames.num_ranks != topology.num_ranks)
    return {StatusCode::invalid_argument, Scope::group, "the layout is not one of {} ranks", topology.num_ranks};
  for (std::uint32_t rank = 0; rank < manifests.size(); ++rank) {
    const Manifest& manifest = manifests[rank];
    if (manifest.rank != rank)
      return {StatusCode::invalid_argument, Scope::group, "the manifest of rank {} says that it is rank {}'s", rank, manifest.rank};
    if (manifest.checkpoint != first.checkpoint)
      return {StatusCode::invalid_argument, Scope::group, "rank {} holds checkpoint {}, rank 0 {}", rank, manifest.checkpoint, first.checkpoint};
    if (!same_layout(manifest, first))
      return {StatusCode::invalid_argument, Scope::group, "rank {} read other headers than rank 0, or packed them differently", rank};
  }
  return Status::success();
}

Status check_topology(const Topology& topology, const MemoryBudget& budget) {
  const std::uint32_t size = topology.inference_parallel_size;
  if (size == 0 || topology.num_ranks % size != 0)
    return Status(StatusCode::invalid_argument, Scope::operation, "--inference-parallel-size {} does not divide {} ranks", size, topology.num_ranks)
        .advise("give the number of GPUs of one engine, and a multiple of it as ranks");
  if (topology.drives_engine.size() != topology.num_ranks / size)
    return {StatusCode::invalid_argument, Scope::operation, "{} entries for {} groups of ranks", topology.drives_engine.size(),
            topology.num_ranks / size};
  if (!topology.hosts.empty() && topology.hosts.size() != topology.num_ranks)
    return {StatusCode::invalid_argument, Scope::operation, "{} hosts for {} ranks", topology.hosts.size(), topology.num_ranks};
  if (budget.free_bytes.size() != topology.num_ranks)
    return {StatusCode::invalid_argument, Scope::operation, "free memory of {} ranks for {} ranks", budget.free_bytes.size(), topology.num_ranks};
  return Status::success();
}

Status check_dtypes(const CheckpointLayout& layout) {
  for (const Parameter& parameter : layout.parameters)
    if (!engines_take(parameter.dtype))
      return Status(StatusCode::invalid_argument, Scope::operation, "tensor {} is {}, which engines cannot take", parameter.name,
                    name(parameter.dtype))
          .advise("convert the checkpoint to a dtype that inference engines load");
  return Status::success();
}

/// One slot is enough to work, and slow: says so when memory, not the user, decided it.
std::vector<std::string> warnings_about(const SlotChoice& choice, const FrameLayout& frames, const MemoryBudget& budget) {
  if (choice.num_slots > 1 || frames.frames.size() < 2 || budget.max_slots < 2) return {};
  const std::uint64_t slot_bytes = slot_bytes_of(frames);
  return {
      fmt::format("memory allows only one slot of {}: a frame is filled only after the one before has been handed over, which can take twice as "
                  "long as with two slots; {} more on each rank would give the second",
                  format_bytes(slot_bytes), format_bytes(2 * slot_bytes - choice.usable_bytes))};
}

}  // namespace

Result<Plan> make_plan(std::span<const Manifest> manifests, const Topology& topology, const MemoryBudget& budget) {
  CKPT_RETURN_IF_ERROR(check_manifests(manifests, topology));
  CKPT_RETURN_IF_ERROR(check_topology(topology, budget));
  const CheckpointLayout& layout = *manifests[0].layout;
  CKPT_RETURN_IF_ERROR(check_dtypes(layout));
  const SlotChoice choice = choose_slots(layout.frames, budget);
  CKPT_RETURN_IF_ERROR(check_slots(layout, budget, choice));
  Plan plan;
  plan.checkpoint = manifests[0].checkpoint;
  plan.layout = manifests[0].layout;
  plan.topology = topology;
  plan.num_slots = choice.num_slots;
  plan.slot_bytes = slot_bytes_of(layout.frames);
  plan.warnings = warnings_about(choice, layout.frames, budget);
  return plan;
}

}  // namespace ckpt
