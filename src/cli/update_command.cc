// `ckpt-engine update`: puts a checkpoint into running engines. As a rank where a launcher says so; else starts its ranks itself.
#include <CLI/CLI.hpp>
#include <memory>

#include "base/log.h"
#include "cli/command.h"
#include "cli/update_arguments.h"
#include "cli/update_rank.h"
#include "os/process.h"
#include "os/signals.h"
#include "rendezvous/local_ranks.h"
#include "rendezvous/store_message.h"
#include "server/session_dirs.h"

namespace ckpt {
namespace {

constexpr const char* kUpdateExample =
    "Examples:\n"
    "  one engine of two workers on this host, two ranks started here:\n"
    "    ckpt-engine update --checkpoint-path ./step-1 --nproc-per-node 2 --weight-version step-1\n"
    "  two engines of two workers each:\n"
    "    ckpt-engine update --checkpoint-path ./step-1 --nproc-per-node 4 --inference-parallel-size 2 \\\n"
    "        --endpoint http://localhost:19730 --endpoint http://localhost:19731 --verify\n"
    "  ranks started by torchrun, Slurm or MPI:\n"
    "    torchrun --nproc-per-node 8 --no-python ckpt-engine update --checkpoint-path ./step-1 --inference-parallel-size 8";

/// How long ranks may take to end by themselves after one has failed: the group tells them within milliseconds.
constexpr Duration kEndGrace = std::chrono::seconds(3);

/// Starts the ranks with this command's own arguments and hosts their store.
Status run_parent(const UpdateArguments& arguments, CommonOptions& common, const std::vector<std::string>& command, Deadline deadline,
                  const AbortSignal& interrupt) {
  CKPT_ASSIGN_OR_RETURN(const std::string token, random_token());
  StoreServerOptions store;
  store.num_ranks = arguments.nproc_per_node;
  store.token = token;
  store.heartbeat_interval = common.settings.duration("heartbeat_interval");
  store.heartbeat_timeout = common.settings.duration("heartbeat_timeout");
  CKPT_ASSIGN_OR_RETURN(const auto server, StoreServer::start(store, deadline));
  LocalRanksOptions options;
  options.command = command;
  options.num_local = options.num_ranks = arguments.nproc_per_node;
  options.store = server->address();
  options.token = token;
  options.collect_outcomes = true;
  CKPT_ASSIGN_OR_RETURN(LocalRanks ranks, LocalRanks::start(options));
  // The ranks end themselves at the deadline, with a better text; this is for those that cannot.
  const std::vector<RankEnd> ends = ranks.wait(Deadline::after(deadline.remaining() + std::chrono::seconds(1)), kEndGrace, interrupt);
  const Status status = job_status(ends, 0);
  if (!status.ok()) {  // a rank that was killed could not clean up: its sockets go, and workers that wait for it are freed
    const Result<SessionOptions> sessions = session_options(common.settings);
    if (sessions.ok()) static_cast<void>(recover_sessions(sessions->journal_dir, Deadline::after(std::chrono::seconds(3))));
  }
  return status.ok() ? interrupt.check() : status;
}

Status run_update(const UpdateArguments& arguments, CommonOptions& common, const std::vector<std::string>& command) {
  const Deadline deadline = Deadline::after(common.settings.duration("timeout"));
  AbortSignal interrupt;
  const InterruptSignals signals(interrupt);
  Result<std::optional<LauncherEnvironment>> place = read_launcher_environment([](const char* variable) { return environment(variable); });
  Status status = place.ok() ? check_arguments(arguments) : place.status();
  if (status.ok() && !*place && arguments.nproc_per_node > 1) return run_parent(arguments, common, command, deadline, interrupt);
  if (status.ok()) status = run_update_rank(arguments, common, *place, deadline, interrupt);
  common.error_told = tell_outcome(status);
  return status;
}

void add_reference_options(CLI::App& command, UpdateArguments& a) {
  command.add_option("--checkpoint-path", a.checkpoint_path, "Directory of the checkpoint")->required();
  command.add_option("--checkpoint-name", a.checkpoint_name, "Name under which it is registered")->capture_default_str();
  command.add_option("--update-method", a.update_method, "broadcast, p2p or all")->capture_default_str();
  command.add_option("--inference-parallel-size", a.inference_parallel_size, "Ranks per engine (its tensor parallel size); default: all ranks");
  command.add_option("--endpoint", a.endpoints,
                     "URL of an engine of this host, repeatable: the k-th group of ranks drives the k-th; default http://localhost:19730");
  command.add_option("--uds", a.unix_socket, "Unix socket of the engine's HTTP");
  command.add_option("--weight-version", a.weight_version, "Version that the engines report afterwards; default: the checkpoint's name");
  command.add_option("--save-metas-file", a.save_metas_file, "Write the gathered metas there as JSON");
  command.add_option("--load-metas-file", a.load_metas_file, "Not offered yet");
  command.add_option("--sleep-time", a.sleep_time_s, "Seconds to wait after the update before leaving");
}

void add_own_options(CLI::App& command, UpdateArguments& a) {
  command.add_option("--nproc-per-node", a.nproc_per_node, "Start this many ranks as child processes (without a launcher)");
  command.add_option("--engine", a.engine, "auto, vllm, sglang, lmdeploy or ckpt")->capture_default_str();
  command.add_option("--dialect", a.dialect, "Generation of the engine's worker: auto, 1 or 2")->capture_default_str();
  command.add_flag("--verify", a.verify, "Take digests while loading and let the receivers check them; a difference aborts");
  command.add_flag("--adopt", a.adopt, "Map files under /dev/shm in place instead of reading them");
  command.add_flag("--keep-slots", a.keep_slots,
                   "Keep the slots on the GPU until the end instead of freeing them before the commit; in host memory they are kept anyway");
  command.add_option("--keep-versions", a.keep_versions, "Earlier versions to keep in the host pool: 0, as the command ends with its update");
  command.add_option("--rollback-path", a.rollback_path, "Directory of the version before: sent if the update fails while engines load");
  command.add_option("--rollback-version", a.rollback_version, "Its version; default: the last part of its path");
  command.add_option("--trace", a.trace_file, "Write a timeline there; https://ui.perfetto.dev opens it");
}

}  // namespace

CommandRunner add_update(CLI::App& app, CommonOptions& common) {
  auto arguments = std::make_shared<UpdateArguments>();  // shared: the parser writes it, the runner reads it later
  CLI::App* command = app.add_subcommand("update", "Put a checkpoint into running engines");
  add_reference_options(*command, *arguments);
  add_own_options(*command, *arguments);
  add_common_options(*command, common,
                     {"timeout",      "bucket_size",  "stripe_size",        "num_slots",         "memory_limit",  "device",          "device_uuid",
                      "nccl_library", "socket_dir",   "read_threads",       "read_chunk_size",   "ready_timeout", "connect_timeout", "ack_timeout",
                      "hook_timeout", "post_timeout", "heartbeat_interval", "heartbeat_timeout", "api_key",       "interface"});
  command->footer(kUpdateExample);
  return [arguments, &common] { return run_update(*arguments, common, common.command_line); };
}

}  // namespace ckpt
