// `ckpt-engine inspect`: what a checkpoint directory holds, or everything that is wrong with it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "checkpoint/tensor_digests.h"
#include "cli/command.h"
#include "cli/inspection.h"

namespace ckpt {
namespace {

struct InspectOptions {
  std::string directory;
  bool digests = false;
  bool tensors = false;
  std::size_t max_problems = 100;
};

Status inspect(const InspectOptions& options, CommonOptions& common) {
  Inspection inspection{options.directory, survey_checkpoint(options.directory, options.max_problems), {}, options.tensors || options.digests};
  const std::vector<Status>& problems = inspection.survey.problems;
  // The bytes of a broken checkpoint mean nothing.
  if (options.digests && problems.empty()) {
    CKPT_ASSIGN_OR_RETURN(inspection.digests, tensor_digests(inspection.survey.checkpoint));
  }
  if (common.json)
    std::printf("%s\n", inspection_json(inspection).c_str());
  else if (!common.quiet && !inspection.survey.checkpoint.files.empty())
    std::fputs(inspection_text(inspection).c_str(), stdout);
  std::fflush(stdout);
  if (problems.empty()) return Status::success();
  if (!common.json)
    for (const Status& problem : problems) std::fprintf(stderr, "ckpt-engine: %s\n", problem.to_string().c_str());
  if (!common.json && problems.size() >= options.max_problems) std::fprintf(stderr, "ckpt-engine: there may be more problems than these\n");
  common.error_told = true;
  return problems.front();
}

}  // namespace

CommandRunner add_inspect(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<InspectOptions>();  // shared: the parser writes into what the runner reads
  CLI::App* command = app.add_subcommand("inspect", "Show a checkpoint's tensors, sizes, dtypes, digests; say what is wrong with a broken one");
  command->footer("Example: ckpt-engine inspect /models/Qwen3-0.6B --tensors");
  command->add_option("directory", options->directory, "Hugging Face directory: one safetensors file, or shards with their index")->required();
  command->add_flag("--tensors", options->tensors, "List each tensor");
  command->add_flag("--digests", options->digests, "Read all bytes and list each tensor with its xxh3-64 (seed 0), as GET /weights of an engine");
  command->add_option("--max-problems", options->max_problems, "Stop after so many problems")->check(CLI::Range(1, 1000000))->capture_default_str();
  add_common_options(*command, common, {});
  return [options, &common] { return inspect(*options, common); };
}

}  // namespace ckpt
