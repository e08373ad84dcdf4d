// `ckpt-engine engine`: an engine that only holds weights. `engine-worker` is its worker process.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/log.h"
#include "cli/command.h"
#include "holder/holder.h"
#include "holder/worker.h"
#include "os/process.h"
#include "os/signals.h"

namespace ckpt {
namespace {

constexpr const char* kEngineExample =
    "Example, then an update from another terminal:\n"
    "  ckpt-engine engine --model ./Qwen3-0.6B --tp 2 --port 19730\n"
    "  ckpt-engine update --checkpoint-path ./Qwen3-0.6B-step1 --nproc-per-node 2 --inference-parallel-size 2 --weight-version step-1";

struct EngineArguments {
  HolderOptions holder;
  std::string load_format = "dummy";
};

void print_address(const HolderAddress& address, const CommonOptions& common, std::uint32_t tp) {
  if (common.json) {
    std::printf("{\"host\":\"%s\",\"port\":%d,\"pid\":%d,\"tp\":%u}\n", address.host.c_str(), address.port, static_cast<int>(::getpid()), tp);
  } else if (!common.quiet) {
    std::printf("engine listens on http://%s:%d%s%s\n", address.host.c_str(), address.port, address.unix_socket.empty() ? "" : " and ",
                address.unix_socket.c_str());
  }
  std::fflush(stdout);
}

Status run_engine(const EngineArguments& arguments, const CommonOptions& common) {
  if (arguments.load_format == "ckpt_engine")
    return {StatusCode::unsupported, Scope::operation,
            "--load-format ckpt_engine: fetching weights at start is not offered yet; use dummy and `update`"};
  if (arguments.load_format != "dummy")
    return {StatusCode::invalid_argument, Scope::operation, "--load-format {}: give dummy or ckpt_engine", arguments.load_format};
  AbortSignal interrupt;
  const InterruptSignals signals(interrupt);
  HolderOptions options = arguments.holder;
  options.api_key = common.settings.text("api_key");
  options.update_timeout = common.settings.duration("post_timeout");
  options.heartbeat_interval = common.settings.duration("heartbeat_interval");
  options.heartbeat_timeout = common.settings.duration("heartbeat_timeout");
  // What stands before the command would be /proc/self/exe itself.
  const std::string program = options.worker_prefix.empty() ? own_executable() : std::filesystem::read_symlink(own_executable()).string();
  options.worker_command = {program, "engine-worker", "--log-level", common.quiet ? "error" : common.settings.text("log_level"), "--control-fd"};
  return run_holder(options, interrupt, [&](const HolderAddress& address) { print_address(address, common, options.tp); });
}

}  // namespace

CommandRunner add_engine(CLI::App& app, CommonOptions& common) {
  auto arguments = std::make_shared<EngineArguments>();  // shared: the parser writes it, the runner reads it later
  HolderOptions& holder = arguments->holder;
  CLI::App* command = app.add_subcommand("engine", "An engine that only holds weights: takes updates, serves digests, seeds others");
  command->add_option("--model", holder.model_dir, "Directory with config.json and safetensors files; only their headers are read")->required();
  command->add_option("--tp", holder.tp, "Number of worker processes, each with one tensor-parallel shard")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  command->add_option("--host", holder.host, "Address to listen on")->capture_default_str();
  command->add_option("--port", holder.port, "Port to listen on; 0: any free one, printed")->check(CLI::Range(0, 65535))->capture_default_str();
  command->add_option("--port-file", holder.port_file, "File to write the port to once the engine listens");
  command->add_option("--uds", holder.unix_socket, "Unix socket to serve the same HTTP on");
  command->add_option("--load-format", arguments->load_format, "dummy: start without weights; ckpt_engine: fetch them from a running server")
      ->capture_default_str();
  command->add_option("--worker-prefix", holder.worker_prefix,
                      "Words before each worker's command, {rank} its number, as in \"numactl --cpunodebind={rank}\"; they must end in running it in "
                      "their own place");
  command->add_flag("--wait-for-initial-weights", holder.wait_for_initial_weights, "GET /health answers 503 until the first update has succeeded");
  command->add_flag("--in-place", holder.in_place, "Keep one copy of the weights instead of two: an update that fails leaves nothing whole");
  add_common_options(*command, common, {"api_key", "heartbeat_interval", "heartbeat_timeout", "post_timeout"});
  command->footer(kEngineExample);
  return [arguments, &common] { return run_engine(*arguments, common); };
}

CommandRunner add_engine_worker(CLI::App& app, CommonOptions& common) {
  auto control_fd = std::make_shared<int>(-1);  // shared: the parser writes it, the runner reads it later
  CLI::App* command = app.add_subcommand("engine-worker", "Worker process of `engine`");
  command->group("");  // not in --help
  command->add_option("--control-fd", *control_fd, "Descriptor of the control socket")->required();
  add_common_options(*command, common, {});
  return [control_fd]() -> Status {
    // Ctrl-C reaches the whole terminal group: the front ends its workers in order, when their updates have ended.
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGTERM, SIG_IGN);
    return run_holder_worker(*control_fd);
  };
}

}  // namespace ckpt
