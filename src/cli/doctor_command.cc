// `ckpt-engine doctor`: what this machine has, what each lack costs and how to mend it.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/command.h"
#include "cli/doctor/probes.h"

namespace ckpt {
namespace {

Status run_doctor(const CommonOptions& common) {
  const MachineFiles files;
  std::vector<Finding> findings;
  for (std::vector<Finding> part : {examine_processors(files), examine_memory(files), examine_limits(files),
                                    examine_gpus(files, common.settings.text("nccl_library")), examine_libraries(), examine_network(files)})
    findings.insert(findings.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  const std::string text = common.json ? findings_json(findings) : findings_text(findings);
  if (common.json || !common.quiet) std::fwrite(text.data(), 1, text.size(), stdout);
  return Status::success();
}

}  // namespace

CommandRunner add_doctor(CLI::App& app, CommonOptions& common) {
  CLI::App* command = app.add_subcommand("doctor", "What this machine has, what each lack costs and how to mend it");
  command->footer("Example:\n  ckpt-engine doctor\n  ckpt-engine doctor --json | python3 -m json.tool");
  add_common_options(*command, common, {"nccl_library"});
  return [&common] { return run_doctor(common); };
}

}  // namespace ckpt
