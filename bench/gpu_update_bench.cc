// bench: server channel rendezvous os base
// One rank of a sender that is measured beside another one against the same workers (bench/gpu): registers a checkpoint, gathers, updates, and notes
// when. All times are seconds of CLOCK_MONOTONIC, so that they can be laid beside the workers' own.
//   ckpt-engine launch --nproc-per-node 2 -- gpu_update_bench --checkpoint DIR --endpoint URL --out PREFIX [--register read,reuse] [--updates
//   noop:6,full:6]
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "channel/http_call.h"
#include "rendezvous/launcher_environment.h"
#include "server/parameter_server.h"

namespace ckpt {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kUsage =
    "usage: gpu_update_bench --checkpoint DIR --endpoint URL --out PREFIX [options]\n"
    "  --register MODE,...    read (into the pool), reuse (again, into the pool's memory), adopt (in place); each but the last is unregistered "
    "again\n"
    "  --updates LOADER:N,... one update that opens the series and N that count; LOADER as the workers' /control takes it, or none\n"
    "  --engine KIND          vllm, sglang or ckpt (default vllm)\n"
    "  --gathers N            repeats of gathering the metas (default 4)\n"
    "  --keep-slots 1         keep the slots between updates\n"
    "  --trace PREFIX         timelines of the first and the last update of each series\n"
    "All settings are read from the environment (CKPT_*).\n";

const AbortSignal never;
Deadline soon() { return Deadline::after(std::chrono::seconds(90)); }
double monotonic_s() { return seconds(Clock::real().now().time_since_epoch()); }

[[noreturn]] void give_up(const std::string& text) {
  std::fprintf(stderr, "gpu_update_bench: %s\n", text.c_str());
  std::_Exit(1);
}
void need(const Status& status) {
  if (!status.ok()) give_up(status.to_string());
}
template <typename T>
T need(Result<T> result) {
  need(result.status());
  return std::move(result).value();
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

struct Arguments {
  std::map<std::string, std::string> values{{"register", "read"}, {"updates", "none:5"}, {"engine", "vllm"},
                                            {"gathers", "4"},     {"keep-slots", "0"},   {"trace", ""}};
  const std::string& operator[](const std::string& name) const { return values.at(name); }
};

Arguments parse_command_line(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) arguments.values[std::string(argv[i]).substr(2)] = argv[i + 1];
  for (const char* name : {"checkpoint", "endpoint", "out"})
    if (argc % 2 == 0 || !arguments.values.contains(name)) {
      std::fputs(kUsage, stderr);
      std::exit(2);
    }
  return arguments;
}

/// Bytes of this process by kind, from /proc/self/status.
json process_memory() {
  json memory;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const std::string key = line.substr(0, line.find(':'));
    if (key == "VmHWM" || key == "VmRSS" || key == "RssAnon" || key == "RssFile" || key == "RssShmem")
      memory[key] = std::strtoull(line.c_str() + key.size() + 1, nullptr, 10) * 1024;
  }
  return memory;
}

std::uint64_t checkpoint_bytes(const std::string& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".safetensors") bytes += entry.file_size();
  return bytes;
}

/// One rank: what it measures goes to PREFIX.rankN.json.
class Sender {
 public:
  Sender(const Arguments& arguments, std::unique_ptr<ParameterServer> server)
      : arguments_(arguments), server_(std::move(server)), rank_(server_->group().rank()) {
    target_.endpoints = {arguments["endpoint"]};
    target_.engine = need_kind(arguments["engine"]);
    target_.inference_parallel_size = server_->group().size();
    target_.keep_slots = arguments["keep-slots"] == "1";
    record_ = {{"sender", "ckpt-engine"}, {"rank", rank_}, {"num_ranks", server_->group().size()}, {"device", server_->device().key()}};
    record_["checkpoint_bytes"] = checkpoint_bytes(arguments["checkpoint"]);
    for (const char* list : {"register", "gather", "update", "verify"}) record_[list] = json::array();
  }

  void run() {
    record_["memory"]["start"] = process_memory();
    const std::vector<std::string> modes = split(arguments_["register"], ',');
    for (std::size_t i = 0; i < modes.size(); ++i) register_once(modes[i], i + 1 == modes.size());
    record_["memory"]["registered"] = process_memory();
    for (int i = 0; i < std::atoi(arguments_["gathers"].c_str()); ++i) gather(i == 0 ? "first" : "again");
    EventRecorder::global().keep_all(true);
    for (const std::string& series : split(arguments_["updates"], ',')) update_series(series);
    record_["memory"]["updated"] = process_memory();
    std::ofstream(arguments_["out"] + ".rank" + std::to_string(rank_) + ".json") << record_.dump(1) << "\n";
    need(server_->group().leave(soon()));
  }

 private:
  static EngineKind need_kind(const std::string& name) {
    const auto kind = engine_kind_from_name(name);
    if (!kind) give_up("there is no engine kind " + name);
    return *kind;
  }

  void meet() { need(server_->group().barrier("bench", soon())); }

  void say(const std::string& text) {
    if (rank_ == 0) std::printf("  ckpt-engine: %s\n", text.c_str());
    std::fflush(stdout);
  }

  void register_once(const std::string& mode, bool keep) {
    meet();
    const double begin = monotonic_s();
    need(server_->register_checkpoint("bench", {arguments_["checkpoint"]}, {false, mode == "adopt"}, soon(), never));
    const double end = monotonic_s();
    meet();
    json row{{"mode", mode}, {"begin", begin}, {"end", end}, {"all_ranks_s", monotonic_s() - begin}, {"memory", process_memory()}};
    if (!keep) {
      need(server_->unregister_checkpoint("bench"));
      row["unregister_s"] = monotonic_s() - end;
    }
    say(fmt::format("register {}: {:.3f} s", mode, end - begin));
    record_["register"].push_back(row);
  }

  void gather(const char* kind) {
    meet();
    const double begin = monotonic_s();
    need(server_->gather_metas("bench", soon(), never));
    record_["gather"].push_back({{"kind", kind}, {"begin", begin}, {"end", monotonic_s()}});
  }

  /// One request of rank 0 to the workers' own door.
  json ask(const std::string& path, const json& body) {
    HttpRequest request{"POST", path, body.dump(), "", std::chrono::seconds(5), std::chrono::seconds(120), 1 << 20};
    const auto call = need(HttpCall::start(need(parse_http_url(arguments_["endpoint"])), std::move(request)));
    const HttpReply reply = need(call->wait(soon(), never));
    if (reply.status != 200) give_up(path + ": " + reply.body);
    return json::parse(reply.body, nullptr, false);
  }

  void update_series(const std::string& series) {
    const std::vector<std::string> parts = split(series, ':');
    const std::string& loader = parts[0];
    const int count = parts.size() > 1 ? std::atoi(parts[1].c_str()) : 1;
    if (rank_ == 0 && loader != "none") ask("/control", {{"loader", loader}});
    std::string text;
    for (int turn = 0; turn <= count; ++turn) {
      text += fmt::format(" {:.3f}", update(loader, turn));
      if (turn == 0 && !arguments_["trace"].empty()) write_trace(arguments_["trace"] + "." + loader + ".first.json");
      if (rank_ == 0 && turn == 0 && loader != "none" && loader != "noop")
        record_["verify"].push_back({{"loader", loader}, {"workers", ask("/verify", {})}});
    }
    say("update, loader " + loader + ":" + text);
    if (!arguments_["trace"].empty()) write_trace(arguments_["trace"] + "." + loader + ".json");
  }

  double update(const std::string& loader, int turn) {
    meet();
    EventRecorder::global().clear();
    const double begin = monotonic_s();
    const UpdateReport report = need(server_->update("bench", target_, soon(), never));
    const double end = monotonic_s();
    json row{{"loader", loader}, {"turn", turn}, {"begin", begin}, {"end", end}, {"first_copy", first_copy_s()}};
    row["slots"] = {{"count", report.num_slots}, {"bytes", report.slot_bytes}, {"frames", report.num_frames}};
    row["lane"] = report.lane;
    row["own_heap_bytes"] = report.own_heap_bytes;
    row["notes"] = report.notes;
    for (std::size_t i = 0; i < kNumStages; ++i) row["stages"][std::string(name(static_cast<Stage>(i)))] = report.stages[i].seconds;
    record_["update"].push_back(row);
    return end - begin;
  }

  /// When the first copy from the pool into a slot was given to the device.
  static double first_copy_s() {
    const double ahead = static_cast<double>(wall_time_ns()) * 1e-9 - monotonic_s();
    double first = 0;
    for (const Event& event : EventRecorder::global().events()) {
      const double begin = static_cast<double>(event.begin_ns) * 1e-9 - ahead;
      if (event.stage == Stage::fill && (first == 0 || begin < first)) first = begin;
    }
    return first;
  }

  void write_trace(const std::string& path) {
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    const std::string mine = trace_fragment({static_cast<int>(rank_), host, EventRecorder::global().events()});
    std::vector<std::string> fragments;
    for (const Bytes& one : need(server_->group().all_gather("timeline", to_bytes(mine), soon()))) fragments.emplace_back(as_text(one));
    if (rank_ == 0) std::ofstream(path) << trace_document(fragments);
  }

  const Arguments& arguments_;
  std::unique_ptr<ParameterServer> server_;
  std::uint32_t rank_;
  UpdateTarget target_;
  json record_;
};

std::unique_ptr<Group> join(const Settings& settings) {
  const auto place = need(read_launcher_environment([](const char* variable) { return environment(variable); }));
  if (!place || place->num_ranks == 1) return solitary_group();
  if (!place->store_is_hosted) give_up("start the ranks with `ckpt-engine launch`: it hosts their store");
  GroupOptions options;
  options.store = place->store;
  options.rank = place->rank;
  options.num_ranks = place->num_ranks;
  options.token = settings.text("store_token");
  return need(join_group(options, soon(), never));
}

int run_sender(int argc, char** argv) {
  const Arguments arguments = parse_command_line(argc, argv);
  const Settings settings = need(Settings::from_environment());
  Sender(arguments, need(ParameterServer::create(join(settings), settings, {}))).run();
  return 0;
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) { return ckpt::run_sender(argc, argv); }
