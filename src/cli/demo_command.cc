// `ckpt-engine demo`: the whole path in a minute, on real processes: two engines, four ranks, two versions, and an update that fails.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/demo_stage.h"
#include "os/signals.h"

namespace ckpt {
namespace {

struct DemoArguments {
  std::string directory;
  std::string shape = "qwen3-moe";
  std::string max_bytes = "480MB";
  bool keep = false;
};

void say(const CommonOptions& common, const std::string& text) {
  if (common.quiet || common.json) return;
  std::printf("\n%s\n", text.c_str());
  std::fflush(stdout);
}

Status steps(DemoStage& stage, const CommonOptions& common) {
  say(common, "1. Two checkpoints are made: the same model, other weights.");
  CKPT_RETURN_IF_ERROR(stage.make_checkpoint("v1", 1));
  CKPT_RETURN_IF_ERROR(stage.make_checkpoint("v2", 2));
  say(common, "2. Two engines of tensor parallel size 2 start. They hold weights and nothing else; they are empty.");
  CKPT_RETURN_IF_ERROR(stage.start_engines(2, 2));
  say(common, "3. Update to v1: four ranks read a quarter each, exchange it, and hand every tensor to the engines' workers.");
  CKPT_RETURN_IF_ERROR(stage.update("v1", {}));
  CKPT_RETURN_IF_ERROR(stage.expect_version("v1"));
  CKPT_RETURN_IF_ERROR(stage.compare_digests("v1"));
  say(common, "4. Update to v2, into the same engines, which keep running and answering.");
  CKPT_RETURN_IF_ERROR(stage.update("v2", {}));
  CKPT_RETURN_IF_ERROR(stage.expect_version("v2"));
  CKPT_RETURN_IF_ERROR(stage.compare_digests("v2"));
  say(common, "5. An update that fails: a shard of v3 is cut. Nothing changes in any engine.");
  CKPT_RETURN_IF_ERROR(stage.make_broken_checkpoint("v3"));
  CKPT_RETURN_IF_ERROR(stage.expect_failed_update("v3"));
  CKPT_RETURN_IF_ERROR(stage.expect_version("v2"));
  say(common, "6. The engines end on SIGTERM; nothing is left behind.");
  return stage.stop_engines();
}

Status run_demo(const DemoArguments& arguments, CommonOptions& common) {
  AbortSignal interrupt;
  const InterruptSignals signals(interrupt);
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t max_bytes, parse_bytes(arguments.max_bytes));
  CKPT_ASSIGN_OR_RETURN(auto stage,
                        DemoStage::create({arguments.directory, arguments.shape, max_bytes, arguments.keep, common.quiet || common.json}, interrupt));
  const Status status = steps(*stage, common);
  if (!status.ok()) return status;
  if (common.json) std::printf("{\"ok\":true,\"versions\":[\"v1\",\"v2\"]}\n");
  say(common, "Done: two versions went into two running engines, every byte verified, and a failed update changed nothing.");
  return Status::success();
}

}  // namespace

CommandRunner add_demo(CLI::App& app, CommonOptions& common) {
  auto arguments = std::make_shared<DemoArguments>();  // shared: the parser writes it, the runner reads it later
  CLI::App* command = app.add_subcommand("demo", "The whole path with made-up weights, in a minute");
  command->add_option("--dir", arguments->directory, "Directory for the checkpoints; default: a temporary one");
  command->add_option("--shape", arguments->shape, "Which model's names, dtypes and sizes (see make-checkpoint)")->capture_default_str();
  command->add_option("--max-bytes", arguments->max_bytes, "Size of a checkpoint at most")->capture_default_str();
  command->add_flag("--keep", arguments->keep, "Keep the directory");
  add_common_options(*command, common, {});
  command->footer("Example: ckpt-engine demo --shape qwen3-0.6b --max-bytes 200MB");
  return [arguments, &common] { return run_demo(*arguments, common); };
}

}  // namespace ckpt
