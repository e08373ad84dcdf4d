// bench: transfer rendezvous os base
// All-gather between processes over each lane, beside what the machine gives: memcpy, process_vm_readv and TCP streams by as many processes.
// Rates count the bytes that all ranks receive. Each case starts its ranks as processes of this program (`--rank`).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/uio.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>

#include "base/bytes.h"
#include "os/process.h"
#include "os/socket.h"
#include "rendezvous/store_server.h"
#include "transfer/ucx/ucx_collective.h"

namespace ckpt {
namespace {

constexpr int kRounds = 12;
constexpr int kWarmRounds = 3;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

/// What a rank is told: lane ("memcpy", "vm_readv" or a UCX_TLS, "" for UCX's choice), its number, and the shape.
struct Case {
  std::string lane;
  std::uint32_t rank = 0;
  std::uint32_t num_ranks = 0;
  std::uint64_t unit_bytes = 0;
  std::uint16_t port = 0;
};

template <typename T>
T number(const char* text) {
  T value{};
  std::from_chars(text, text + std::strlen(text), value);
  return value;
}

using Exchange = std::function<Status()>;

/// Seconds of one exchange, all ranks together.
Result<double> time_rounds(Group& group, const Exchange& exchange) {
  TimePoint begin;
  for (int round = 0; round < kWarmRounds + kRounds; ++round) {
    if (round == kWarmRounds) {
      CKPT_RETURN_IF_ERROR(group.barrier("begin", soon()));
      begin = Clock::real().now();
    }
    CKPT_RETURN_IF_ERROR(exchange());
  }
  CKPT_RETURN_IF_ERROR(group.barrier("end", soon()));
  return seconds(Clock::real().now() - begin) / kRounds;
}

/// The same bytes by plain copies inside each process: no synchronisation, no other process's memory.
Result<double> time_memcpy(Group& group, const Case& at) {
  const Bytes source(at.unit_bytes, std::byte{1});
  Bytes destination(at.unit_bytes * (at.num_ranks - 1), std::byte{2});
  return time_rounds(group, [&] {
    for (std::uint32_t i = 0; i + 1 < at.num_ranks; ++i) std::memcpy(destination.data() + i * at.unit_bytes, source.data(), at.unit_bytes);
    benchmark::ClobberMemory();
    return Status::success();
  });
}

struct Place {
  pid_t pid;
  std::byte* unit;
};

/// The same bytes by process_vm_readv out of each peer: the floor of a one-copy exchange.
Result<double> time_vm_readv(Group& group, const Case& at) {
  Bytes buffer(at.unit_bytes * at.num_ranks, std::byte{2});
  const Place mine{::getpid(), buffer.data() + at.rank * at.unit_bytes};
  Bytes mine_bytes(sizeof mine);
  std::memcpy(mine_bytes.data(), &mine, sizeof mine);
  CKPT_ASSIGN_OR_RETURN(const auto all, group.all_gather("places", mine_bytes, soon()));
  return time_rounds(group, [&]() -> Status {
    for (std::uint32_t step = 1; step < at.num_ranks; ++step) {
      const std::uint32_t from = (at.rank + step) % at.num_ranks;
      Place place{};
      std::memcpy(&place, all[from].data(), sizeof place);
      const iovec local{buffer.data() + from * at.unit_bytes, at.unit_bytes};
      const iovec remote{place.unit, at.unit_bytes};
      if (::process_vm_readv(place.pid, &local, 1, &remote, 1, 0) != static_cast<ssize_t>(at.unit_bytes))
        return {StatusCode::unavailable, Scope::operation, "process_vm_readv: {}", std::strerror(errno)};
    }
    return Status::success();
  });
}

Result<double> time_collective(Group& group, const Case& at, std::string& lane) {
  UcxOptions options;
  options.tls = at.lane;
  CKPT_ASSIGN_OR_RETURN(const auto collective, make_ucx_collective(group, options, soon()));
  const AbortSignal never;
  const std::vector<std::uint64_t> units(at.num_ranks, at.unit_bytes);
  Bytes buffer(at.unit_bytes * at.num_ranks, std::byte{2});
  CKPT_RETURN_IF_ERROR(collective->register_buffer(buffer, -1));
  Result<double> time = time_rounds(group, [&]() -> Status {
    CKPT_ASSIGN_OR_RETURN(const auto work, collective->all_gather(buffer.data(), units, nullptr));
    return work->wait(soon(), never);
  });
  lane = collective->lane();
  collective->unregister_buffer(buffer);
  return time;
}

int run_rank(const Case& at) {
  const AbortSignal never;
  auto group = join_group({{"127.0.0.1", at.port}, at.rank, at.num_ranks, ""}, soon(), never);
  if (!group.ok()) return 1;
  std::string lane = at.lane;
  const Result<double> time = at.lane == "memcpy"     ? time_memcpy(**group, at)
                              : at.lane == "vm_readv" ? time_vm_readv(**group, at)
                                                      : time_collective(**group, at, lane);
  if (!time.ok()) std::fprintf(stderr, "rank %u: %s\n", at.rank, time.status().to_string().c_str());
  if (time.ok() && at.rank == 0) std::printf("%.9f %s\n", *time, lane.c_str());
  static_cast<void>((*group)->barrier("leave", soon()));
  static_cast<void>((*group)->leave(soon()));
  return time.ok() ? 0 : 1;
}

/// Starts the ranks and reads what rank 0 prints.
bool measure(const Case& shape, double& time_s, std::string& lane) {
  const AbortSignal never;
  const auto server = StoreServer::start({"127.0.0.1", 0, shape.num_ranks, ""}, soon());
  int ends[2];
  if (!server.ok() || ::pipe2(ends, O_CLOEXEC) != 0) return false;
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::vector<Process> ranks;
  for (std::uint32_t rank = 0; rank < shape.num_ranks; ++rank) {
    ProcessOptions options;
    options.command = {own_executable(),
                       "--rank",
                       shape.lane,
                       std::to_string(rank),
                       std::to_string(shape.num_ranks),
                       std::to_string(shape.unit_bytes),
                       std::to_string((*server)->address().port)};
    options.fds = {{writer.get(), STDOUT_FILENO}};
    auto process = Process::spawn(options);
    if (!process.ok()) return false;
    ranks.push_back(std::move(*process));
  }
  writer.reset();
  for (Process& rank : ranks)
    if (const auto ended = rank.wait(soon(), never); !ended.ok() || !ended->ok()) return false;
  char text[256] = {};
  if (::read(reader.get(), text, sizeof text - 1) <= 0) return false;
  char name[200] = {};
  if (std::sscanf(text, "%lf %199[^\n]", &time_s, name) < 1) return false;
  lane = name;
  return true;
}

void exchange(benchmark::State& state, const char* lane) {
  Case shape{lane, 0, static_cast<std::uint32_t>(state.range(0)), static_cast<std::uint64_t>(state.range(1)) * MiB, 0};
  double time_s = 0;
  std::string used;
  for (auto _ : state) {
    if (!measure(shape, time_s, used)) return state.SkipWithError("the ranks failed: see above");
    state.SetIterationTime(time_s);
  }
  state.SetBytesProcessed(state.iterations() * shape.num_ranks * (shape.num_ranks - 1) * shape.unit_bytes);
  state.SetLabel(used);
}

void shapes(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t ranks : {2, 4})
    for (const std::int64_t unit_mib : {1, 4, 32}) bench->Args({ranks, unit_mib});
  bench->ArgNames({"ranks", "unit_MiB"})->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(exchange, memcpy, "memcpy")->Apply(shapes);
BENCHMARK_CAPTURE(exchange, vm_readv, "vm_readv")->Apply(shapes);
BENCHMARK_CAPTURE(exchange, ucx, "")->Apply(shapes);
BENCHMARK_CAPTURE(exchange, shared_memory, "posix,self")->Apply(shapes);
BENCHMARK_CAPTURE(exchange, tcp, "tcp")->Apply(shapes);

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  if (argc == 7 && std::string_view(argv[1]) == "--rank")
    return ckpt::run_rank({argv[2], ckpt::number<std::uint32_t>(argv[3]), ckpt::number<std::uint32_t>(argv[4]), ckpt::number<std::uint64_t>(argv[5]),
                           ckpt::number<std::uint16_t>(argv[6])});
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
