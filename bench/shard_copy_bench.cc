// bench: holder base
// The one copy of an update on the engine's side, beside what it could at best be: memcpy of the same bytes.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "holder/shard_copy.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kTensor = 64 * MiB;

void set_rate(benchmark::State& state, std::uint64_t bytes) { state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes)); }

void plain_memcpy(benchmark::State& state) {
  const Bytes source(kTensor, std::byte{1});
  Bytes destination(kTensor);
  for (auto _ : state) {
    std::memcpy(destination.data(), source.data(), kTensor);
    benchmark::ClobberMemory();
  }
  set_rate(state, kTensor);
}

// Rows: one run. Columns: runs of `range(0)` bytes, half of each row.
void copy_and_hash(benchmark::State& state) {
  const auto run = static_cast<std::uint64_t>(state.range(0));
  const TensorShard shard{{}, 0, kTensor / run, run, run == kTensor ? run : 2 * run};
  const Bytes source(2 * kTensor, std::byte{1});
  Bytes destination(kTensor);
  for (auto _ : state) benchmark::DoNotOptimize(copy_shard(shard, source, destination));
  set_rate(state, kTensor);
}

void copy_then_hash(benchmark::State& state) {
  const Bytes source(kTensor, std::byte{1});
  Bytes destination(kTensor);
  for (auto _ : state) {
    std::memcpy(destination.data(), source.data(), kTensor);
    benchmark::DoNotOptimize(digest_of(destination));
  }
  set_rate(state, kTensor);
}

BENCHMARK(plain_memcpy);
BENCHMARK(copy_and_hash)->Arg(kTensor)->Arg(64 * KiB)->Arg(4 * KiB)->Arg(512);
BENCHMARK(copy_then_hash);

}  // namespace
}  // namespace ckpt
