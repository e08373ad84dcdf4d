// `ckpt-engine plan`: what an update would do, from headers alone and before anything runs.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/bytes.h"
#include "checkpoint/checkpoint.h"
#include "cli/command.h"
#include "manifest/metas_json.h"
#include "os/file.h"
#include "os/output_file.h"
#include "plan/plan.h"
#include "server/frame_options.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kMostMetasBytes = 4 * GiB - 1;  // what the JSON reader takes
constexpr std::uint64_t kUnknownMemory = std::uint64_t{1} << 62;

constexpr const char* kFooter = R"(Nothing is loaded or sent: only headers are read, and no engine has to run.

Example: a checkpoint on 8 ranks that drive two engines of 4 workers each, with at most 2 GB for slots on a rank:

  ckpt-engine plan --checkpoint-path /models/Qwen3-30B-A3B --num-ranks 8 --inference-parallel-size 4 --memory-limit 2GB

How to read the answer: tensors are packed into frames; each rank fills its part of every frame from its own memory, receives the other parts, and hands
the whole frame to its engine's worker. A slot takes one frame. With two slots or more, the next frame is filled while the worker takes the last.
"predicted" is as good as the rates it is given: `ckpt-engine bench` measures those of a machine.)";

struct PlanOptions {
  std::string checkpoint_path;
  std::string load_metas_file;
  std::string save_metas_file;
  std::uint32_t num_ranks = 0;                ///< 0: 1, or as many as the metas file has
  std::uint32_t inference_parallel_size = 0;  ///< 0: one engine over all ranks
  std::int64_t num_engines = -1;              ///< groups that drive an engine; -1: all
  std::string fill_rate = "10GB";
  std::string exchange_rate = "4GB";
  std::string apply_rate = "10GB";
};

Result<std::vector<Manifest>> manifests_from_file(const PlanOptions& options) {
  CKPT_ASSIGN_OR_RETURN(const Bytes text, read_small_file(options.load_metas_file, kMostMetasBytes));
  Result<std::vector<Manifest>> manifests = manifests_from_json(as_text(text));
  if (!manifests.ok()) return manifests.status().with_note("{}", options.load_metas_file);
  if (options.num_ranks != 0 && options.num_ranks != manifests->size())
    return Status(StatusCode::invalid_argument, Scope::operation, "--num-ranks {}: {} holds the metas of {} ranks", options.num_ranks,
                  options.load_metas_file, manifests->size());
  return manifests;
}

/// What ranks would gather: the layout is a function of headers and options.
Result<std::vector<Manifest>> manifests_from_headers(const PlanOptions& options, const Settings& settings) {
  CKPT_ASSIGN_OR_RETURN(Checkpoint checkpoint, open_checkpoint(options.checkpoint_path));
  const std::uint32_t num_ranks = std::max(options.num_ranks, 1u);
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = std::move(checkpoint.parameters);
  const FrameOptions wanted = frame_options(settings, settings.text("device"));
  CKPT_ASSIGN_OR_RETURN(layout->frames, make_striped_layout(layout->parameters, num_ranks, fit_frames(wanted, layout->parameters, num_ranks)));
  std::vector<Manifest> manifests(num_ranks);
  for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
    manifests[rank].checkpoint = options.checkpoint_path;
    manifests[rank].rank = rank;
    manifests[rank].layout = layout;
  }
  return manifests;
}

Result<Topology> topology_of(const PlanOptions& options, std::span<const Manifest> manifests) {
  Topology topology;
  topology.num_ranks = static_cast<std::uint32_t>(manifests.size());
  topology.inference_parallel_size = options.inference_parallel_size == 0 ? topology.num_ranks : options.inference_parallel_size;
  const std::uint32_t num_groups = topology.num_ranks / topology.inference_parallel_size;
  if (options.num_engines > static_cast<std::int64_t>(num_groups))
    return Status(StatusCode::invalid_argument, Scope::operation, "--num-engines {}: {} ranks in groups of {} drive at most {}", options.num_engines,
                  topology.num_ranks, topology.inference_parallel_size, num_groups);
  for (std::uint32_t group = 0; group < num_groups; ++group)
    topology.drives_engine.push_back(options.num_engines < 0 || group < static_cast<std::uint32_t>(options.num_engines));
  for (const Manifest& manifest : manifests) topology.hosts.push_back(manifest.host);
  return topology;
}

Result<LinkRates> rates_of(const PlanOptions& options) {
  const std::string* texts[] = {&options.fill_rate, &options.exchange_rate, &options.apply_rate};
  constexpr const char* kFlags[] = {"--fill-rate", "--exchange-rate", "--apply-rate"};
  double rates[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const Result<std::uint64_t> rate = parse_bytes(*texts[i]);
    if (!rate.ok()) return rate.status().with_note("{}", kFlags[i]);
    rates[i] = static_cast<double>(*rate);
  }
  return LinkRates{rates[0], rates[1], rates[2]};
}

Result<Plan> plan_for(const PlanOptions& options, const Settings& settings, std::span<const Manifest> manifests) {
  CKPT_ASSIGN_OR_RETURN(const Topology topology, topology_of(options, manifests));
  MemoryBudget budget{{}, settings.bytes("memory_limit"), static_cast<std::uint32_t>(settings.count("num_slots"))};
  bool known = budget.limit_bytes != 0;
  for (const Manifest& manifest : manifests) {
    known = known || manifest.free_device_bytes != 0;
    budget.free_bytes.push_back(manifest.free_device_bytes == 0 ? kUnknownMemory : manifest.free_device_bytes);
  }
  CKPT_ASSIGN_OR_RETURN(Plan plan, make_plan(manifests, topology, budget));
  if (!known) plan.warnings.emplace_back("the ranks' free memory is not known here: slots assume that it suffices; --memory-limit bounds them");
  return plan;
}

Status plan_update(const PlanOptions& options, const CommonOptions& common) {
  if (options.checkpoint_path.empty() == options.load_metas_file.empty())
    return {StatusCode::invalid_argument, Scope::operation, "give either --checkpoint-path or --load-metas-file"};
  CKPT_ASSIGN_OR_RETURN(const LinkRates rates, rates_of(options));
  CKPT_ASSIGN_OR_RETURN(const std::vector<Manifest> manifests,
                        options.load_metas_file.empty() ? manifests_from_headers(options, common.settings) : manifests_from_file(options));
  CKPT_ASSIGN_OR_RETURN(const Plan plan, plan_for(options, common.settings, manifests));
  if (!options.save_metas_file.empty()) CKPT_RETURN_IF_ERROR(write_small_file(options.save_metas_file, manifests_json(manifests)));
  if (common.quiet && !common.json) return Status::success();
  const std::string text = common.json ? plan_json(plan, rates) : plan_text(plan, rates);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return Status::success();
}

}  // namespace

CommandRunner add_plan(CLI::App& app, CommonOptions& common) {
  auto options = std::make_shared<PlanOptions>();  // shared: the parser writes into what the runner reads
  CLI::App* command = app.add_subcommand("plan", "What an update would do, before it runs: shares, frames, slots, bytes a link, time");
  command->footer(kFooter);
  command->add_option("--checkpoint-path", options->checkpoint_path, "Hugging Face directory of the checkpoint")->type_name("DIR");
  command->add_option("--num-ranks,--nproc-per-node", options->num_ranks, "Number of ranks, one a GPU (default: 1, or those of the metas file)")
      ->type_name("N")
      ->check(CLI::Range(1u, 1u << 20));
  command->add_option("--inference-parallel-size", options->inference_parallel_size, "Ranks that drive one engine together (default: all)")
      ->type_name("N")
      ->check(CLI::Range(1u, 1u << 20));
  command->add_option("--num-engines", options->num_engines, "Groups that drive an engine; the others only hold and send (default: all)")
      ->type_name("N")
      ->check(CLI::Range(0u, 1u << 20));
  command
      ->add_option("--load-metas-file", options->load_metas_file,
                   "Plan from gathered metas instead of a checkpoint: shares and free memory as ranks told them")
      ->type_name("FILE");
  command->add_option("--save-metas-file", options->save_metas_file, "Write the metas as JSON (docs/format/metas.md)")->type_name("FILE");
  command->add_option("--fill-rate", options->fill_rate, "Assumed rate from host memory into slots, bytes a second; 0: unknown")
      ->type_name("BYTES")
      ->capture_default_str();
  command->add_option("--exchange-rate", options->exchange_rate, "Assumed rate at which a rank receives from the others")
      ->type_name("BYTES")
      ->capture_default_str();
  command->add_option("--apply-rate", options->apply_rate, "Assumed rate at which a worker takes a slot's bytes")
      ->type_name("BYTES")
      ->capture_default_str();
  add_common_options(*command, common, {"bucket_size", "stripe_size", "num_slots", "memory_limit", "device"});
  return [options, &common] { return plan_update(*options, common); };
}

}  // namespace ckpt
