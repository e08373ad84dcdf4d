// `ckpt-engine bench`: what each stage reaches on this machine, beside the limit of a plain loop in the same run, and an update end to end.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "cli/command.h"
#include "os/signals.h"
#include "server/gpu_rates.h"

namespace ckpt {
namespace {

struct BenchArguments {
  std::string checkpoint_path;
  unsigned rounds = 5;
};

double share(const RateRow& row) { return row.seconds > 0 ? row.limit_seconds / row.seconds : 0; }

std::string as_table(const std::vector<RateRow>& rows) {
  std::string out = fmt::format("{:<24} {:>10} {:>12} {:>12} {:>9}  {}\n", "what", "bytes", "rate", "limit", "of limit", "limit is");
  for (const RateRow& row : rows)
    out += fmt::format("{:<24} {:>10} {:>12} {:>12} {:>7.0f} %  {}\n", row.what, format_bytes(row.bytes), format_rate(row.bytes, row.seconds),
                       format_rate(row.bytes, row.limit_seconds), share(row) * 100, row.limit_is);
  return out;
}

std::string as_json(const std::vector<RateRow>& rows) {
  nlohmann::json document = nlohmann::json::array();
  for (const RateRow& row : rows)
    document.push_back({{"what", row.what},
                        {"bytes", row.bytes},
                        {"seconds", row.seconds},
                        {"limit_seconds", row.limit_seconds},
                        {"share_of_limit", share(row)},
                        {"limit_is", row.limit_is}});
  return document.dump(2) + "\n";
}

Status run_bench(const BenchArguments& arguments, CommonOptions& common) {
  AbortSignal interrupt;
  const InterruptSignals signals(interrupt);
  CKPT_ASSIGN_OR_RETURN(const Checkpoint checkpoint, open_checkpoint(arguments.checkpoint_path));
  const Deadline deadline = Deadline::after(common.settings.duration("timeout"));
  CKPT_ASSIGN_OR_RETURN(std::vector<RateRow> rows, measure_host_rates(checkpoint, arguments.rounds, deadline, interrupt));
  if (const std::string& device = common.settings.text("device"); device != "host") {
    const Result<std::vector<RateRow>> gpu = measure_gpu_rates(checkpoint, arguments.rounds, deadline, interrupt);
    if (gpu.ok()) rows.insert(rows.end(), gpu->begin(), gpu->end());
    if (!gpu.ok() && (device == "cuda" || gpu.status().code() != StatusCode::unsupported)) return gpu.status();
  }
  std::fputs(common.json ? as_json(rows).c_str() : as_table(rows).c_str(), stdout);
  return Status::success();
}

}  // namespace

CommandRunner add_bench(CLI::App& app, CommonOptions& common) {
  auto arguments = std::make_shared<BenchArguments>();  // shared: the parser writes it, the runner reads it later
  CLI::App* command = app.add_subcommand("bench", "Rates of each stage on this machine, beside the limit measured in the same run");
  command->add_option("--checkpoint-path", arguments->checkpoint_path, "Directory of a checkpoint to read; its files are dropped from the page cache")
      ->required();
  command->add_option("--rounds", arguments->rounds, "Rounds of each measurement; medians are shown")->capture_default_str();
  add_common_options(*command, common, {"timeout", "device"});
  command->footer(
      "Example: ckpt-engine make-checkpoint --shape qwen3-0.6b --out /tmp/c && ckpt-engine bench --checkpoint-path /tmp/c\nThe rate of a whole "
      "update is in the closing table of `ckpt-engine update`.");
  return [arguments, &common] { return run_bench(*arguments, common); };
}

}  // namespace ckpt
