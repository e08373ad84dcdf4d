// bench: plan manifest base
// Metadata of a model of 10^12 parameters, which has about 140,000 tensors: what gathering, planning and a warm update cost without the network.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "base/bytes.h"
#include "manifest/manifest_codec.h"
#include "manifest/metas_json.h"
#include "plan/plan.h"

namespace ckpt {
namespace {

constexpr std::uint32_t kNumRanks = 8;
constexpr FrameOptions kFrames{256 * MiB, 32 * MiB};

/// 61 layers of 384 experts in FP8 with block scales.
std::vector<Parameter> large_model() {
  std::vector<Parameter> parameters;
  for (int layer = 0; layer < 61; ++layer)
    for (int expert = 0; expert < 384; ++expert)
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const std::string name = fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert, projection);
        parameters.push_back({name, DType::F8_E4M3, {2048, 7168}, 2048 * 7168});
        parameters.push_back({name + "_scale_inv", DType::F32, {16, 56}, 16 * 56 * 4});
      }
  return parameters;
}

std::shared_ptr<const CheckpointLayout> large_layout() {
  static const std::shared_ptr<const CheckpointLayout> layout = [] {
    auto made = std::make_shared<CheckpointLayout>();
    made->parameters = large_model();
    made->frames = make_striped_layout(made->parameters, kNumRanks, kFrames).value();
    return made;
  }();
  return layout;
}

/// With a digest for each unit, as --verify gives them.
std::vector<Manifest> large_manifests() {
  std::vector<Manifest> manifests(kNumRanks);
  for (std::uint32_t rank = 0; rank < kNumRanks; ++rank) {
    manifests[rank] = {"step-1", rank, "boot", fmt::format("GPU-{}", rank), 8 * GiB, large_layout(), {{4096, 1 * GiB, ""}}, {}};
    const auto& frames = large_layout()->frames.frames;
    for (std::uint32_t frame = 0; frame < frames.size(); ++frame)
      for (std::uint32_t stripe = 0; stripe < frames[frame].stripes.size(); ++stripe) manifests[rank].digests.push_back({frame, stripe, frame});
  }
  return manifests;
}

Topology topology() { return {kNumRanks, kNumRanks, std::vector<std::string>(kNumRanks, "boot"), {true}}; }
MemoryBudget budget() { return {std::vector<std::uint64_t>(kNumRanks, 8 * GiB), 0, 3}; }

void layout(benchmark::State& state) {
  const std::vector<Parameter> parameters = large_model();
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(make_striped_layout(parameters, kNumRanks, kFrames));
  state.counters["tensors"] = static_cast<double>(parameters.size());
}
BENCHMARK(layout)->Unit(benchmark::kMillisecond);

void share_layout(benchmark::State& state) {
  const std::vector<Parameter> parameters = large_model();
  std::vector<std::uint32_t> owner;
  for (std::size_t i = 0; i < parameters.size(); ++i) owner.push_back(static_cast<std::uint32_t>(i * kNumRanks / parameters.size()));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(make_share_layout(parameters, owner, kNumRanks, kFrames));
}
BENCHMARK(share_layout)->Unit(benchmark::kMillisecond);

void layout_digest(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(digest(*large_layout()));
}
BENCHMARK(layout_digest)->Unit(benchmark::kMillisecond);

/// All extents of all units, as loading and verification take them once.
void extents(benchmark::State& state) {
  const auto shared = large_layout();
  for ([[maybe_unused]] auto _ : state)
    for (std::uint32_t frame = 0; frame < shared->frames.frames.size(); ++frame)
      for (std::uint32_t stripe = 0; stripe < shared->frames.frames[frame].stripes.size(); ++stripe)
        for (std::uint32_t rank = 0; rank < kNumRanks; ++rank)
          benchmark::DoNotOptimize(extents_of(shared->frames, shared->parameters, frame, stripe, rank));
}
BENCHMARK(extents)->Unit(benchmark::kMillisecond);

/// What gathering costs one rank: its message written, all ranks' messages read.
void gather_messages(benchmark::State& state) {
  const std::vector<Manifest> manifests = large_manifests();
  const std::uint64_t key = digest(*large_layout());
  for ([[maybe_unused]] auto _ : state) {
    std::vector<std::string> messages;
    for (const Manifest& manifest : manifests) messages.push_back(encode_manifest(manifest, key));
    const std::vector<std::string_view> views(messages.begin(), messages.end());
    benchmark::DoNotOptimize(assemble_manifests(views, large_layout(), key));
  }
}
BENCHMARK(gather_messages)->Unit(benchmark::kMillisecond);

/// Shares: every rank's tensors travel.
void gather_shares(benchmark::State& state) {
  const std::vector<Parameter> parameters = large_model();
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(decode_parameters(encode_parameters(parameters)));
}
BENCHMARK(gather_shares)->Unit(benchmark::kMillisecond);

void metas_document_write(benchmark::State& state) {
  const std::vector<Manifest> manifests = large_manifests();
  std::size_t bytes = 0;
  for ([[maybe_unused]] auto _ : state) bytes = manifests_json(manifests).size();
  state.counters["document_bytes"] = static_cast<double>(bytes);
}
BENCHMARK(metas_document_write)->Unit(benchmark::kMillisecond);

void metas_document_read(benchmark::State& state) {
  const std::string text = manifests_json(large_manifests());
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(manifests_from_json(text));
}
BENCHMARK(metas_document_read)->Unit(benchmark::kMillisecond);

void plan_cold(benchmark::State& state) {
  const std::vector<Manifest> manifests = large_manifests();
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(make_plan(manifests, topology(), budget()));
}
BENCHMARK(plan_cold)->Unit(benchmark::kMillisecond);

void plan_key_warm(benchmark::State& state) {
  const std::vector<Manifest> manifests = large_manifests();
  const std::vector<std::uint64_t> digests(kNumRanks, digest(*large_layout()));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(plan_key(manifests, digests, topology(), budget()));
}
BENCHMARK(plan_key_warm)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ckpt
