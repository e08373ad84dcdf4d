// `ckpt-engine launch`: one process per rank of any command, with the environment that torchrun would give them.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/command.h"
#include "os/signals.h"
#include "rendezvous/local_ranks.h"
#include "rendezvous/store_message.h"

namespace ckpt {
namespace {

constexpr const char* kLaunchExample =
    "Example, on each of two hosts (K = 0 and 1):\n"
    "  CKPT_STORE_TOKEN=secret ckpt-engine launch --nproc-per-node 8 --nnodes 2 --node-rank K --master-addr host0 --master-port 29500 -- \\\n"
    "      ckpt-engine update --checkpoint-path ./step-1 --inference-parallel-size 16";

/// How long ranks may take to end by themselves after one has failed: a group of ours tells them within milliseconds.
constexpr Duration kLaunchEndGrace = std::chrono::seconds(2);

struct LaunchArguments {
  std::uint32_t nproc_per_node = 1;
  std::uint32_t nnodes = 1;
  std::uint32_t node_rank = 0;
  std::string master_addr = "127.0.0.1";
  std::uint16_t master_port = 29500;
  bool label_output = false;
  std::vector<std::string> command;
};

Status check(const LaunchArguments& a, const std::string& token) {
  if (a.nproc_per_node == 0 || a.nnodes == 0 || a.node_rank >= a.nnodes)
    return {StatusCode::invalid_argument,
            Scope::operation,
            "--nproc-per-node {} --nnodes {} --node-rank {} do not fit together",
            a.nproc_per_node,
            a.nnodes,
            a.node_rank};
  if (a.master_port == 0 || a.master_port == 65535)
    return {StatusCode::invalid_argument, Scope::operation, "--master-port {}: the store takes the port above it", a.master_port};
  if (a.nnodes > 1 && token.empty())
    return Status(StatusCode::invalid_argument, Scope::operation, "ranks on several hosts need a common secret")
        .advise("set CKPT_STORE_TOKEN to the same text on all of them");
  return Status::success();
}

/// Ranks of other hosts may still need the store that this host runs.
Status leave_store_last(StoreServer* store, std::uint32_t nnodes, const AbortSignal& interrupt) {
  if (store == nullptr || nnodes == 1) return Status::success();
  return store->wait_until_empty(Deadline::after(std::chrono::seconds(60)), interrupt);
}

Status run_launch(const LaunchArguments& a, CommonOptions& common) {
  std::string token = common.settings.text("store_token");
  CKPT_RETURN_IF_ERROR(check(a, token));
  if (token.empty()) {
    CKPT_ASSIGN_OR_RETURN(token, random_token());
  }
  AbortSignal interrupt;
  const InterruptSignals signals(interrupt);
  std::unique_ptr<StoreServer> store;
  StoreAddress address{a.master_addr, static_cast<std::uint16_t>(a.master_port + 1)};
  if (a.node_rank == 0) {
    const std::uint16_t port = a.nnodes == 1 ? std::uint16_t{0} : address.port;  // alone, any port will do
    CKPT_ASSIGN_OR_RETURN(store, StoreServer::start({a.master_addr, port, a.nproc_per_node * a.nnodes, token,
                                                     common.settings.duration("heartbeat_interval"), common.settings.duration("heartbeat_timeout")},
                                                    Deadline::after(std::chrono::seconds(10))));
    address = store->address();
  }
  LocalRanksOptions options;
  options.command = a.command;
  options.num_local = a.nproc_per_node;
  options.first_rank = a.node_rank * a.nproc_per_node;
  options.num_ranks = a.nproc_per_node * a.nnodes;
  options.store = address;
  options.token = token;
  options.collect_outcomes = true;
  options.master = StoreAddress{a.master_addr, a.master_port};
  options.label_output = a.label_output;
  CKPT_ASSIGN_OR_RETURN(LocalRanks ranks, LocalRanks::start(options));
  const std::vector<RankEnd> ends = ranks.wait(Deadline::after(Duration::max()), kLaunchEndGrace, interrupt, &signals);
  if (const auto first = first_failure(ends, options.first_rank)) {
    common.exit_code = first->exit.shell_code();
    return first->status;
  }
  CKPT_RETURN_IF_ERROR(interrupt.check());
  return leave_store_last(store.get(), a.nnodes, interrupt);
}

}  // namespace

CommandRunner add_launch(CLI::App& app, CommonOptions& common) {
  auto arguments = std::make_shared<LaunchArguments>();  // shared: the parser writes it, the runner reads it later
  CLI::App* command = app.add_subcommand("launch", "Start one process per rank, and end all when one fails");
  command->add_option("--nproc-per-node", arguments->nproc_per_node, "Ranks on this host")->capture_default_str();
  command->add_option("--nnodes", arguments->nnodes, "Hosts")->capture_default_str();
  command->add_option("--node-rank", arguments->node_rank, "Number of this host")->capture_default_str();
  command->add_option("--master-addr", arguments->master_addr, "Address of host 0, where the store runs")->capture_default_str();
  command->add_option("--master-port", arguments->master_port, "The store listens on the port above it")->capture_default_str();
  command->add_flag("--label-output", arguments->label_output, "Print each line of a rank with its number before it");
  command->add_option("command", arguments->command, "Command of the ranks, after --")->required();
  command->positionals_at_end();
  add_common_options(*command, common, {"heartbeat_interval", "heartbeat_timeout"});
  command->footer(kLaunchExample);
  return [arguments, &common] { return run_launch(*arguments, common); };
}

}  // namespace ckpt
