// `ckpt-engine make-checkpoint`: a checkpoint with made-up weights, for the demo, tests and benchmarks.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "checkpoint/synthetic.h"
#include "checkpoint/writer.h"
#include "cli/command.h"
#include "os/output_file.h"

namespace ckpt {
namespace {

struct MakeCheckpointOptions {
  std::string shape = "qwen3-0.6b";
  std::string out;
  std::string max_bytes = "1.2GB";
  std::uint64_t seed = 1;
  std::uint32_t num_shards = 1;
};

void print_outcome(const MakeCheckpointOptions& options, const SyntheticModel& model, const std::vector<std::string>& files, bool as_json) {
  std::uint64_t bytes = 0;
  for (const Parameter& parameter : model.parameters) bytes += parameter.bytes;
  if (as_json) {
    const nlohmann::ordered_json document{
        {"path", options.out}, {"shape", options.shape}, {"seed", options.seed}, {"bytes", bytes}, {"tensors", model.parameters.size()},
        {"files", files}};
    std::printf("%s\n", document.dump().c_str());
    return;
  }
  std::printf("%s: %s, seed %llu, %zu tensors, %s in %zu files\n", options.out.c_str(), options.shape.c_str(),
              static_cast<unsigned long long>(options.seed), model.parameters.size(), format_bytes(bytes).c_str(), files.size());
}

Status make_checkpoint(const MakeCheckpointOptions& options, const CommonOptions& common) {
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t max_bytes, parse_bytes(options.max_bytes));
  CKPT_ASSIGN_OR_RETURN(const SyntheticModel model, make_synthetic_model(options.shape, max_bytes));
  WriteOptions write;
  write.seed = options.seed;
  write.num_shards = options.num_shards;
  CKPT_ASSIGN_OR_RETURN(std::vector<std::string> files, write_checkpoint(options.out, model.parameters, write));
  CKPT_RETURN_IF_ERROR(write_small_file(options.out + "/config.json", model.config_json));
  files.emplace_back("config.json");
  if (common.json || !common.quiet) print_outcome(options, model, files, common.json);
  return Status::success();
}

}  // namespace

CommandRunner add_make_checkpoint(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<MakeCheckpointOptions>();  // shared: the parser writes into what the runner reads
  CLI::App* command = app.add_subcommand("make-checkpoint", "Write a checkpoint with made-up weights, for tests and measurements");
  command->group("");  // not in the list of commands
  command->footer("Example: ckpt-engine make-checkpoint --shape tiny-deepseek-fp8 --seed 2 --shards 3 --out /tmp/made-up");
  std::vector<std::string> shapes(synthetic_shapes().begin(), synthetic_shapes().end());
  command->add_option("--shape", options->shape, "Which model's names, dtypes and sizes")->check(CLI::IsMember(shapes))->capture_default_str();
  command->add_option("--seed", options->seed, "Other seeds give other bytes")->capture_default_str();
  command->add_option("--out", options->out, "Directory to write, made if it is not there")->required();
  command->add_option("--max-bytes", options->max_bytes, "Cut vocabulary, experts and layers to this size")->capture_default_str();
  command->add_option("--shards", options->num_shards, "Number of safetensors files")->check(CLI::Range(1, 10000))->capture_default_str();
  add_common_options(*command, common, {});
  return [options, &common] { return make_checkpoint(*options, common); };
}

}  // namespace ckpt
