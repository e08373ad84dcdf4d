// bench: rendezvous os base
// The group's steps over the loopback interface, all ranks and the store as threads of one process: latency of a barrier, and metas of 140,000
// tensors gathered over 8 ranks (about 1.5 MB each; the budget is 200 ms).
#include <benchmark/benchmark.h>

#include <functional>
#include <thread>

#include "rendezvous/store_server.h"

namespace ckpt {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

/// Runs `step` once a pass on every rank; rank 0 is the one that is timed.
void measure(benchmark::State& state, const std::function<bool(Group&)>& step) {
  const auto num_ranks = static_cast<std::uint32_t>(state.range(0));
  const AbortSignal never;
  const auto server = StoreServer::start({.num_ranks = num_ranks}, soon()).value();
  const auto join = [&](std::uint32_t rank) {
    GroupOptions options;
    options.store = server->address();
    options.rank = rank;
    options.num_ranks = num_ranks;
    return join_group(options, soon(), never);
  };
  std::vector<std::thread> others;
  for (std::uint32_t rank = 1; rank < num_ranks; ++rank)
    others.emplace_back([&, rank] {
      const auto group = join(rank);
      while (group.ok() && step(**group)) {
      }
    });
  {
    const auto group = join(0);
    bool ok = group.ok();
    for (auto _ : state) ok = ok && step(**group);
    if (!ok) state.SkipWithError("a step failed");
  }  // its death ends the others
  for (std::thread& other : others) other.join();
}

void barrier(benchmark::State& state) {
  measure(state, [](Group& group) { return group.barrier("b", soon()).ok(); });
}
BENCHMARK(barrier)->Arg(2)->Arg(8)->UseRealTime()->Unit(benchmark::kMicrosecond);

void all_gather_1500_kB_each(benchmark::State& state) {
  measure(state, [](Group& group) { return group.all_gather("metas", Bytes(1'500'000), soon()).ok(); });
  state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(0) * 1'500'000);
}
BENCHMARK(all_gather_1500_kB_each)->Arg(2)->Arg(8)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ckpt
