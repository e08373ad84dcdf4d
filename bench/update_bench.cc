// bench: server rendezvous hostpool checkpoint os base
// A warm update from pool to engine memory, end to end on real processes, beside a plain loop that moves the same bytes with as many threads:
// own share pool -> slot, others' shares into the slot, slot -> the engine's shard, one copy each.
//   update_bench CKPT_ENGINE CHECKPOINT_DIR [RANKS [TP [ROUNDS [BUCKET_SIZE]]]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/bytes.h"
#include "checkpoint/checkpoint.h"
#include "os/memory.h"
#include "os/process.h"
#include "os/shared_memory.h"
#include "os/threads.h"
#include "rendezvous/store_server.h"
#include "server/parameter_server.h"

namespace ckpt {
namespace {

const AbortSignal never;
Deadline soon() { return Deadline::after(std::chrono::seconds(120)); }

struct Arguments {
  std::string program;
  std::string checkpoint;
  std::uint32_t num_ranks = 4;
  std::uint32_t tp = 2;
  unsigned rounds = 7;
  std::string bucket_size;
};

Arguments parse(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: update_bench CKPT_ENGINE CHECKPOINT_DIR [RANKS [TP [ROUNDS [BUCKET_SIZE]]]]\n");
    std::exit(2);
  }
  Arguments a{argv[1], argv[2], 4, 2, 7, ""};
  if (argc > 3) a.num_ranks = static_cast<std::uint32_t>(std::atoi(argv[3]));
  if (argc > 4) a.tp = static_cast<std::uint32_t>(std::atoi(argv[4]));
  if (argc > 5) a.rounds = static_cast<unsigned>(std::atoi(argv[5]));
  if (argc > 6) a.bucket_size = argv[6];
  return a;
}

template <typename T>
T need(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "update_bench: %s\n", result.status().to_string().c_str());
    std::exit(1);
  }
  return std::move(result).value();
}

void need(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "update_bench: %s\n", status.to_string().c_str());
  std::exit(1);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Seconds of the plain loop: one thread a rank, frames of `report.slot_bytes` in as many slots as the update had.
class PlainLoop {
 public:
  PlainLoop(const Arguments& a, const UpdateReport& report)
      : a_(a), frame_(report.slot_bytes), num_slots_(report.num_slots), bytes_(report.checkpoint_bytes) {
    pool_ = memory(bytes_ + frame_);
    slots_ = memory(a.num_ranks * num_slots_ * frame_);
    shards_ = memory(a.num_ranks * (bytes_ / a.tp + frame_));
  }

  double once() {
    const TimePoint begin = Clock::real().now();
    std::vector<std::thread> threads;
    for (std::uint32_t rank = 0; rank < a_.num_ranks; ++rank) threads.emplace_back([this, rank] { rank_loop(rank); });
    for (std::thread& thread : threads) thread.join();
    return seconds(Clock::real().now() - begin);
  }

 private:
  static Mapping memory(std::uint64_t bytes) {
    Mapping mapping = need(Mapping::anonymous(round_up(bytes, 2 * MiB)));
    need(populate(mapping.span(), usable_cores()));
    return mapping;
  }

  void rank_loop(std::uint32_t rank) {
    std::byte* shard = shards_.data() + rank * (bytes_ / a_.tp + frame_);
    for (std::uint64_t at = 0, frame = 0; at < bytes_; at += frame_, ++frame) {
      const std::uint64_t size = std::min(frame_, bytes_ - at);
      const std::uint64_t unit = size / a_.num_ranks;
      std::byte* slot = slot_of(rank, frame);
      std::memcpy(slot + rank * unit, pool_.data() + at + rank * unit, unit);
      for (std::uint32_t other = 0; other < a_.num_ranks; ++other)
        if (other != rank) std::memcpy(slot + other * unit, slot_of(other, frame) + other * unit, unit);
      std::memcpy(shard + at / a_.tp, slot, size / a_.tp);
    }
  }

  std::byte* slot_of(std::uint32_t rank, std::uint64_t frame) { return slots_.data() + (rank * num_slots_ + frame % num_slots_) * frame_; }

  Arguments a_;
  std::uint64_t frame_;
  std::uint64_t num_slots_;
  std::uint64_t bytes_;
  Mapping pool_;
  Mapping slots_;
  Mapping shards_;
};

struct Times {
  std::vector<double> whole;
  std::map<std::string, std::vector<double>> steps;  // spans of rank 0 by stage and name
  std::vector<double> offers;                        // of single buckets
};

void print(const Arguments& a, const UpdateReport& report, const Times& times, const std::vector<double>& loops) {
  const double whole = median(times.whole);
  const double loop = median(loops);
  std::printf("%s in %u tensors, %u ranks, %u engines of TP %u, %u frames, %u slots of %s, lane %s; medians of %zu warm updates\n",
              format_bytes(report.checkpoint_bytes).c_str(), report.num_tensors, a.num_ranks, report.num_engines, a.tp, report.num_frames,
              report.num_slots, format_bytes(report.slot_bytes).c_str(), report.lane.c_str(), times.whole.size());
  std::printf("  %-42s %9.2f ms\n", "plain loop, same bytes", loop * 1e3);
  std::printf("  %-42s %9.2f ms   %.2f of the loop\n", "whole update", whole * 1e3, whole / loop);
  for (const auto& [name, values] : times.steps) {
    std::printf("    %-40s %9.2f ms\n", name.c_str(), median(values) * 1e3);
  }
  std::printf("  %-42s %9.1f us\n", "one bucket's hand-over", median(times.offers) * 1e6);
  std::printf("  %-42s %9.1f MiB (most of any rank)\n", "heap beside pool and slots", static_cast<double>(report.own_heap_bytes) / (1 << 20));
}

void add_spans(Times& times) {
  std::map<std::string, double> sums;
  for (const Event& event : EventRecorder::global().events()) {
    const double spent = static_cast<double>(event.end_ns - event.begin_ns) * 1e-9;
    if (event.frame >= 0) {
      if (event.stage == Stage::handover) times.offers.push_back(spent);
    } else {
      sums[fmt::format("{}: {}", name(event.stage), event.what)] += spent;
    }
  }
  for (const auto& [name, spent] : sums) times.steps[name].push_back(spent);
}

int run_rank(const Arguments& a, std::uint32_t rank) {
  const char* store = std::getenv("UPDATE_BENCH_STORE_PORT");
  GroupOptions options;
  options.store = {"127.0.0.1", static_cast<std::uint16_t>(std::atoi(store))};
  options.rank = rank;
  options.num_ranks = a.num_ranks;
  Settings settings = Settings::defaults();
  if (!a.bucket_size.empty()) need(settings.set("bucket_size", a.bucket_size, "BUCKET_SIZE"));
  const auto server = need(ParameterServer::create(need(join_group(options, soon(), never)), settings, {}));
  need(server->register_checkpoint("bench", {a.checkpoint}, {}, soon(), never));
  need(server->gather_metas("bench", soon(), never));
  UpdateTarget target;
  for (std::uint32_t i = 0; i < a.num_ranks / a.tp; ++i) target.endpoints.emplace_back(std::getenv(fmt::format("UPDATE_BENCH_ENGINE_{}", i).c_str()));
  target.engine = EngineKind::ckpt;
  target.inference_parallel_size = a.tp;
  target.keep_slots = std::getenv("UPDATE_BENCH_KEEP_SLOTS") != nullptr;
  Times times;
  std::optional<PlainLoop> loop;
  std::vector<double> loops;
  EventRecorder::global().keep_all(true);
  for (unsigned round = 0; round <= a.rounds; ++round) {
    EventRecorder::global().clear();
    const UpdateReport report = need(server->update("bench", target, soon(), never));
    if (rank == 0 && round == 0) loop.emplace(a, report);
    if (rank == 0 && round > 0) {
      times.whole.push_back(report.seconds);
      add_spans(times);
    }
    need(server->group().barrier("loop", soon()));
    if (rank == 0) loops.push_back(loop->once());
    need(server->group().barrier("next", soon()));
    if (rank == 0 && round == a.rounds) print(a, report, times, loops);
  }
  need(server->group().leave(soon()));
  return 0;
}

/// The port that `engine` has written to `port_file`. One that ends before has said why.
std::string wait_for_port(Process& engine, const std::filesystem::path& port_file) {
  for (const Deadline end = soon();; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    std::string port;
    if (std::ifstream(port_file) >> port) return port;
    if (const auto ended = need(engine.poll())) need(Status(StatusCode::unavailable, Scope::process, "the engine {}", ended->to_string()));
    need(end.check("the engine's port"));
  }
}

int run_all(const Arguments& a, int argc, char** argv) {
  need(open_checkpoint(a.checkpoint));
  const auto store = need(StoreServer::start({.num_ranks = a.num_ranks}, soon()));
  std::vector<std::string> environment{fmt::format("UPDATE_BENCH_STORE_PORT={}", store->address().port)};
  std::vector<Process> processes;
  const std::filesystem::path port_file = std::filesystem::temp_directory_path() / fmt::format("update-bench-{}", ::getpid());
  for (std::uint32_t i = 0; i < a.num_ranks / a.tp; ++i) {
    std::filesystem::remove(port_file);
    processes.push_back(need(Process::spawn({.command = {a.program, "engine", "--model", a.checkpoint, "--tp", std::to_string(a.tp), "--port", "0",
                                                         "--port-file", port_file.string(), "--quiet"}})));
    environment.push_back(fmt::format("UPDATE_BENCH_ENGINE_{}=http://127.0.0.1:{}", i, wait_for_port(processes.back(), port_file)));
  }
  std::filesystem::remove(port_file);
  std::vector<Process> ranks;
  for (std::uint32_t rank = 0; rank < a.num_ranks; ++rank) {
    ProcessOptions options{.command = {own_executable()}, .environment = environment};
    for (int i = 1; i < argc; ++i) options.command.emplace_back(argv[i]);
    options.environment.push_back(fmt::format("UPDATE_BENCH_RANK={}", rank));
    ranks.push_back(need(Process::spawn(options)));
  }
  int code = 0;
  for (Process& rank : ranks) code = std::max(code, need(rank.wait(soon(), never)).shell_code());
  return code;
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  const ckpt::Arguments arguments = ckpt::parse(argc, argv);
  if (const char* rank = std::getenv("UPDATE_BENCH_RANK")) return ckpt::run_rank(arguments, static_cast<std::uint32_t>(std::atoi(rank)));
  return ckpt::run_all(arguments, argc, argv);
}
