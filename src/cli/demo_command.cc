// `ckpt-engine demo`: the whole path in a minute, on real processes: two engines, four ranks, two versions, and an update that fails.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/demo_stage.h"
#include "device/cuda/cuda_device.h"
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

/// How many engines, and of how many workers.
struct DemoSize {
  std::uint32_t num_engines = 2;
  std::uint32_t tp = 2;
};

/// On GPUs as many workers as there are, at most two engines of two; in host memory always those.
Result<DemoSize> demo_size(const std::string& device) {
  if (device != "cuda") return DemoSize{};
  CKPT_ASSIGN_OR_RETURN(const int count, cuda_device_count());
  return DemoSize{count >= 4 ? 2u : 1u, count >= 2 ? 2u : 1u};
}

Status steps(DemoStage& stage, DemoSize size, const CommonOptions& common) {
  say(common, "1. Two checkpoints are made: the same model, other weights.");
  CKPT_RETURN_IF_ERROR(stage.make_checkpoint("v1", 1));
  CKPT_RETURN_IF_ERROR(stage.make_checkpoint("v2", 2));
  say(common, fmt::format("2. {} engine(s) of tensor parallel size {} start. They hold weights and nothing else; they are empty.", size.num_engines,
                          size.tp));
  CKPT_RETURN_IF_ERROR(stage.start_engines(size.num_engines, size.tp));
  say(common,
      fmt::format("3. Update to v1: each of {} rank(s) reads an equal part, all exchange them, and every tensor is handed to the engines' workers.",
                  size.num_engines * size.tp));
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
  const std::string device = common.settings.text("device") == "cuda" ? "cuda" : "host";
  CKPT_ASSIGN_OR_RETURN(const DemoSize size, demo_size(device));
  CKPT_ASSIGN_OR_RETURN(
      auto stage,
      DemoStage::create({arguments.directory, arguments.shape, max_bytes, arguments.keep, common.quiet || common.json, device}, interrupt));
  const Status status = steps(*stage, size, common);
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
  add_common_options(*command, common, {"device"});
  command->footer("On host memory unless --device cuda is given. Example: ckpt-engine demo --shape qwen3-0.6b --max-bytes 200MB");
  return [arguments, &common] { return run_demo(*arguments, common); };
}

}  // namespace ckpt
