#include "cli/demo_stage.h"

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/tensor_digests.h"
#include "cli/http_get.h"
#include "os/error.h"
#include "os/file.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

namespace fs = std::filesystem;

constexpr Duration kStepTime = std::chrono::seconds(240);

}  // namespace

Result<std::unique_ptr<DemoStage>> DemoStage::create(const DemoOptions& options, const AbortSignal& interrupt) {
  std::unique_ptr<DemoStage> stage(new DemoStage(options, interrupt));
  stage->directory_ = options.directory;
  if (stage->directory_.empty()) {
    std::string pattern = (fs::temp_directory_path() / "ckpt-demo-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return errno_status(errno, "make a directory for the demo");
    stage->directory_ = pattern;
    stage->temporary_ = true;
  }
  return stage;
}

DemoStage::~DemoStage() {
  engines_.clear();  // kills what still runs
  std::error_code ignored;
  if (temporary_ && !options_.keep) fs::remove_all(directory_, ignored);
}

void DemoStage::say(const std::string& text) const {
  if (options_.quiet) return;
  std::printf("   %s\n", text.c_str());
  std::fflush(stdout);
}

Result<ExitStatus> DemoStage::run(const std::vector<std::string>& arguments, bool show_output) {
  std::string shown = "$ ckpt-engine";
  for (const std::string& argument : arguments) shown += " " + argument;
  say(shown);
  ProcessOptions process;
  process.command = {own_executable()};
  process.command.insert(process.command.end(), arguments.begin(), arguments.end());
  process.own_group = true;
  const UniqueFd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (options_.quiet || !show_output) process.fds = {{nowhere.get(), STDOUT_FILENO}, {nowhere.get(), STDERR_FILENO}};
  CKPT_ASSIGN_OR_RETURN(Process child, Process::spawn(process));
  Result<ExitStatus> ended = child.wait(Deadline::after(kStepTime), *interrupt_);
  if (!ended.ok()) static_cast<void>(child.signal_group(SIGTERM));
  return ended;
}

Status DemoStage::make_checkpoint(const std::string& version, std::uint64_t seed) {
  CKPT_ASSIGN_OR_RETURN(const ExitStatus ended, run({"make-checkpoint", "--shape", options_.shape, "--max-bytes", std::to_string(options_.max_bytes),
                                                     "--shards", "3", "--seed", std::to_string(seed), "--out", directory_ + "/" + version},
                                                    true));
  if (!ended.ok()) return {StatusCode::internal, Scope::operation, "make-checkpoint {}", ended.to_string()};
  return Status::success();
}

Status DemoStage::make_broken_checkpoint(const std::string& version) {
  std::error_code error;
  const fs::path target = directory_ + "/" + version;
  fs::create_directory(target, error);
  std::string last;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_ + "/v2", error)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".safetensors" && name > last) last = name;
    fs::create_hard_link(entry.path(), target / name, error);
  }
  if (error || last.empty()) return {StatusCode::internal, Scope::operation, "copy the checkpoint {}: {}", directory_, error.message()};
  fs::remove(target / last, error);
  fs::copy_file(directory_ + "/v2/" + last, target / last, error);
  fs::resize_file(target / last, fs::file_size(target / last, error) - 1000, error);
  if (error) return {StatusCode::internal, Scope::operation, "cut {}: {}", last, error.message()};
  say("the last 1000 bytes of " + (target / last).string() + " are cut off");
  return Status::success();
}

Status DemoStage::start_engines(std::uint32_t num_engines, std::uint32_t tp) {
  tp_ = tp;
  for (std::uint32_t i = 0; i < num_engines; ++i) {
    const std::string port_file = directory_ + "/port-" + std::to_string(i);
    const std::vector<std::string> arguments{"engine", "--model", directory_ + "/v1", "--tp",    std::to_string(tp),
                                             "--port", "0",       "--port-file",      port_file, "--quiet"};
    std::string shown = "$ ckpt-engine";
    for (const std::string& argument : arguments) shown += " " + argument;
    say(shown + " &");
    ProcessOptions process;
    process.command = {own_executable()};
    process.command.insert(process.command.end(), arguments.begin(), arguments.end());
    process.own_group = true;
    CKPT_ASSIGN_OR_RETURN(Process child, Process::spawn(process));
    engines_.push_back({std::move(child), ""});
    for (const Deadline end = Deadline::after(std::chrono::seconds(30));;) {
      const Result<Bytes> text = read_small_file(port_file);
      if (text.ok() && !text->empty()) {
        std::string port(as_text(*text));
        while (!port.empty() && port.back() == '\n') port.pop_back();
        engines_.back().endpoint = "http://127.0.0.1:" + port;
        break;
      }
      CKPT_RETURN_IF_ERROR(end.check("the engine's port"));
      CKPT_RETURN_IF_ERROR(pause_for(std::chrono::milliseconds(20), *interrupt_));
    }
  }
  return Status::success();
}

std::vector<std::string> DemoStage::update_arguments(const std::string& version) const {
  std::vector<std::string> arguments{"update",
                                     "--checkpoint-path",
                                     directory_ + "/" + version,
                                     "--nproc-per-node",
                                     std::to_string(engines_.size() * tp_),
                                     "--inference-parallel-size",
                                     std::to_string(tp_)};
  for (const Engine& engine : engines_) {
    arguments.emplace_back("--endpoint");
    arguments.push_back(engine.endpoint);
  }
  arguments.insert(arguments.end(), {"--weight-version", version, "--bucket-size", "64MiB", "--verify", "--device", options_.device});
  return arguments;
}

Status DemoStage::update(const std::string& version, const std::vector<std::string>& more_arguments) {
  std::vector<std::string> arguments = update_arguments(version);
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  CKPT_ASSIGN_OR_RETURN(const ExitStatus ended, run(arguments, true));
  if (!ended.ok()) return {StatusCode::internal, Scope::operation, "the update to {} {}", version, ended.to_string()};
  return Status::success();
}

Status DemoStage::expect_failed_update(const std::string& version) {
  CKPT_ASSIGN_OR_RETURN(const ExitStatus ended, run(update_arguments(version), true));
  if (ended.ok()) return {StatusCode::internal, Scope::operation, "the update to {} should have failed", version};
  say(fmt::format("the update {}: {}", ended.to_string(), "as it should"));
  return Status::success();
}

Status DemoStage::expect_version(const std::string& version) {
  for (const Engine& engine : engines_) {
    CKPT_ASSIGN_OR_RETURN(const std::string text, http_get(engine.endpoint, "/weights", Deadline::after(std::chrono::seconds(30))));
    const nlohmann::json weights = nlohmann::json::parse(text, nullptr, false);
    const std::string serves = weights.is_object() && weights["version"].is_string() ? weights["version"].get<std::string>() : "null";
    if (serves != version)
      return {StatusCode::data_corruption, Scope::operation, "engine {} serves {} instead of {}", engine.endpoint, serves, version};
    say(fmt::format("engine {} serves version {}", engine.endpoint, serves));
  }
  return Status::success();
}

Status DemoStage::compare_digests(const std::string& version) {
  CKPT_ASSIGN_OR_RETURN(const Checkpoint checkpoint, open_checkpoint(directory_ + "/" + version));
  CKPT_ASSIGN_OR_RETURN(const std::vector<std::uint64_t> expected, tensor_digests(checkpoint));
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) index[checkpoint.parameters[i].name] = i;
  for (const Engine& engine : engines_) {
    CKPT_ASSIGN_OR_RETURN(const std::string text, http_get(engine.endpoint, "/weights", Deadline::after(std::chrono::seconds(30))));
    const nlohmann::json weights = nlohmann::json::parse(text, nullptr, false);
    std::size_t whole = 0;
    std::size_t shards = 0;
    for (const nlohmann::json& worker : weights["workers"])
      for (const nlohmann::json& tensor : worker["tensors"]) {
        const auto found = index.find(tensor["name"].get<std::string>());
        if (found == index.end())
          return {StatusCode::data_corruption, Scope::operation, "engine {} holds {}, which the checkpoint does not have", engine.endpoint,
                  tensor["name"].dump()};
        if (tensor["bytes"].get<std::uint64_t>() != checkpoint.parameters[found->second].bytes) {
          ++shards;
          continue;
        }
        ++whole;
        if (tensor["xxh3"].get<std::string>() != fmt::format("{:016x}", expected[found->second]))
          return {StatusCode::data_corruption, Scope::operation, "engine {}: tensor {} has another digest than the checkpoint's file",
                  engine.endpoint, tensor["name"].dump()};
      }
    say(fmt::format("engine {}: {} whole tensors have the digests of the files; {} shards were verified while they came", engine.endpoint, whole,
                    shards));
  }
  return Status::success();
}

Status DemoStage::stop_engines() {
  for (const Engine& engine : engines_) CKPT_RETURN_IF_ERROR(engine.process.signal(SIGTERM));
  for (Engine& engine : engines_) {
    CKPT_ASSIGN_OR_RETURN(const ExitStatus ended, engine.process.wait(Deadline::after(std::chrono::seconds(10)), *interrupt_));
    if (!ended.ok()) return {StatusCode::internal, Scope::operation, "engine {} {}", engine.endpoint, ended.to_string()};
    say(fmt::format("engine {} {}", engine.endpoint, ended.to_string()));
  }
  engines_.clear();
  return Status::success();
}

}  // namespace ckpt
