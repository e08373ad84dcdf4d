#include "plan/plan.h"

#include <algorithm>

#include "base/bytes.h"

namespace ckpt {
namespace {

/// FNV-style mixing: the inputs are digests and counts, not attacker's text.
class KeyMixer {
 public:
  void add(std::uint64_t value) {
    key_ = (key_ ^ value) * 0x9e3779b97f4a7c15u;
    key_ ^= key_ >> 29;
  }
  void add(std::string_view text) {
    add(text.size());
    for (const char c : text) add(static_cast<unsigned char>(c));
  }
  [[nodiscard]] std::uint64_t value() const { return key_; }

 private:
  std::uint64_t key_ = 0xcbf29ce484222325u;
};

Status check_manifests(std::span<const Manifest> manifests, const Topology& topology) {
  if (manifests.empty() || manifests.size() != topology.num_ranks)
    return {StatusCode::invalid_argument, Scope::operation, "{} manifests for {} ranks", manifests.size(), topology.num_ranks};
  for (std::uint32_t rank = 0; rank < manifests.size(); ++rank) {
    if (manifests[rank].rank != rank)
      return {StatusCode::invalid_argument, Scope::group, "the manifest of rank {} says that it is rank {}'s", rank, manifests[rank].rank};
    if (manifests[rank].checkpoint != manifests[0].checkpoint)
      return {StatusCode::invalid_argument, Scope::group,           "rank {} holds checkpoint {}, rank 0 {}", rank,
              manifests[rank].checkpoint,   manifests[0].checkpoint};
    if (manifests[rank].layout == nullptr || manifests[rank].layout->frames.num_ranks != topology.num_ranks)
      return {StatusCode::invalid_argument, Scope::group, "the layout of rank {} is not one of {} ranks", rank, topology.num_ranks};
  }
  return Status::success();
}

Status check_topology(const Topology& topology) {
  if (topology.inference_parallel_size == 0 || topology.num_ranks % topology.inference_parallel_size != 0)
    return {StatusCode::invalid_argument, Scope::operation, "--inference-parallel-size {} does not divide {} ranks", topology.inference_parallel_size,
            topology.num_ranks};
  const std::uint32_t num_groups = topology.num_ranks / topology.inference_parallel_size;
  if (topology.drives_engine.size() != num_groups)
    return {StatusCode::invalid_argument, Scope::operation, "{} entries for {} groups of ranks", topology.drives_engine.size(), num_groups};
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

const Parameter* largest_parameter(const CheckpointLayout& layout) {
  const auto largest =
      std::max_element(layout.parameters.begin(), layout.parameters.end(), [](const Parameter& a, const Parameter& b) { return a.bytes < b.bytes; });
  return largest == layout.parameters.end() ? nullptr : &*largest;
}

struct Slots {
  std::uint32_t count;
  std::vector<std::string> warnings;
};

Result<Slots> choose_slots(const CheckpointLayout& layout, std::uint64_t slot_bytes, const MemoryBudget& budget) {
  if (budget.free_bytes.empty()) return Status(StatusCode::invalid_argument, Scope::operation, "no rank told its free memory");
  const auto least = std::min_element(budget.free_bytes.begin(), budget.free_bytes.end());
  const std::uint64_t usable = budget.limit_bytes == 0 ? *least : std::min(*least, budget.limit_bytes);
  const auto affordable = static_cast<std::uint32_t>(std::min<std::uint64_t>(usable / slot_bytes, std::max(budget.max_slots, 1u)));
  if (affordable == 0) {
    const Parameter* largest = largest_parameter(layout);
    return Status(StatusCode::resource_exhausted, Scope::group, "one slot needs {} bytes and rank {} can give {} bytes: {} more; {}", slot_bytes,
                  least - budget.free_bytes.begin(), usable, slot_bytes - usable,
                  largest != nullptr && align_up(largest->bytes, kTensorAlignment) * 2 > slot_bytes
                      ? fmt::format("the largest tensor, {}, takes {} bytes", largest->name, largest->bytes)
                      : std::string("--bucket-size sets it"))
        .advise(budget.limit_bytes != 0 && budget.limit_bytes < slot_bytes ? "raise --memory-limit or lower --bucket-size"
                                                                           : "free device memory or lower --bucket-size");
  }
  const auto useful = static_cast<std::uint32_t>(std::max<std::size_t>(layout.frames.frames.size(), 1));
  Slots slots{std::min(affordable, useful), {}};
  if (slots.count == 1 && useful > 1 && budget.max_slots > 1)
    slots.warnings.push_back(
        fmt::format("memory allows only one slot of {}: filling, exchange and hand-over cannot overlap from frame to frame, which can take up to "
                    "three times as long; {} more per rank would give two",
                    format_bytes(slot_bytes), format_bytes(2 * slot_bytes - usable)));
  return slots;
}

}  // namespace

Result<Plan> make_plan(std::span<const Manifest> manifests, const Topology& topology, const MemoryBudget& budget) {
  CKPT_RETURN_IF_ERROR(check_manifests(manifests, topology));
  CKPT_RETURN_IF_ERROR(check_topology(topology));
  const CheckpointLayout& layout = *manifests[0].layout;
  CKPT_RETURN_IF_ERROR(check_dtypes(layout));
  Plan plan;
  plan.layout = manifests[0].layout;
  plan.topology = topology;
  plan.slot_bytes = std::max(layout.frames.frame_bytes, kTensorAlignment);
  CKPT_ASSIGN_OR_RETURN(Slots slots, choose_slots(layout, plan.slot_bytes, budget));
  plan.num_slots = slots.count;
  plan.warnings = std::move(slots.warnings);
  return plan;
}

std::uint64_t plan_key(std::span<const Manifest> manifests, std::span<const std::uint64_t> layout_digests, const Topology& topology,
                       const MemoryBudget& budget) {
  KeyMixer key;
  for (const std::uint64_t digest : layout_digests) key.add(digest);
  for (const Manifest& manifest : manifests) {
    key.add(manifest.checkpoint);
    key.add(manifest.digests.size());
    for (const UnitDigest& digest : manifest.digests) key.add(digest.xxh3);
  }
  key.add(topology.num_ranks);
  key.add(topology.inference_parallel_size);
  for (const std::string& host : topology.hosts) key.add(host);
  for (const bool drives : topology.drives_engine) key.add(drives ? 1 : 2);
  for (const std::uint64_t free_bytes : budget.free_bytes) key.add(free_bytes);
  key.add(budget.limit_bytes);
  key.add(budget.max_slots);
  return key.value();
}

}  // namespace ckpt
