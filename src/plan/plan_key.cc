#include "plan/plan.h"
#include "plan/slots.h"

namespace ckpt {
namespace {

/// The inputs are digests and counts, not an attacker's text: mixing is enough.
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

}  // namespace

std::uint64_t plan_key(std::span<const Manifest> manifests, std::span<const std::uint64_t> layout_digests, const Topology& topology,
                       const MemoryBudget& budget) {
  KeyMixer key;
  for (const std::uint64_t digest : layout_digests) key.add(digest);
  for (const Manifest& manifest : manifests) {
    key.add(manifest.checkpoint);
    key.add(manifest.digests.size());
    for (const UnitDigest& digest : manifest.digests) {
      key.add(std::uint64_t{digest.frame} << 32 | digest.stripe);
      key.add(digest.xxh3);
    }
  }
  key.add(topology.num_ranks);
  key.add(topology.inference_parallel_size);
  for (const std::string& host : topology.hosts) key.add(host);
  for (const bool drives : topology.drives_engine) key.add(drives ? 1 : 2);
  // Free memory changes with every update; a plan depends only on the number of slots that it allows.
  if (!manifests.empty() && manifests[0].layout != nullptr && !budget.free_bytes.empty())
    key.add(choose_slots(manifests[0].layout->frames, budget).num_slots);
  return key.value();
}

}  // namespace ckpt
