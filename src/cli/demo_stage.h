/// The scenery of the demo: checkpoints, engines and updates as processes of their own, started as a user would start them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/process.h"

namespace ckpt {

struct DemoOptions {
  std::string directory;  ///< empty: a temporary one
  std::string shape;
  std::uint64_t max_bytes = 0;
  bool keep = false;
  bool quiet = false;
  std::string device = "host";  ///< of the updates' ranks
};

/// Owns the directory (if temporary) and the engines: nothing is left when it ends. Every step prints the command that a user would type.
class DemoStage {
 public:
  [[nodiscard]] static Result<std::unique_ptr<DemoStage>> create(const DemoOptions& options, const AbortSignal& interrupt);
  ~DemoStage();

  [[nodiscard]] Status make_checkpoint(const std::string& version, std::uint64_t seed);
  /// A copy of a good one whose last shard lacks its end.
  [[nodiscard]] Status make_broken_checkpoint(const std::string& version);
  [[nodiscard]] Status start_engines(std::uint32_t num_engines, std::uint32_t tp);
  [[nodiscard]] Status update(const std::string& version, const std::vector<std::string>& more_arguments);
  [[nodiscard]] Status expect_failed_update(const std::string& version);
  /// Every engine must say that it serves `version`.
  [[nodiscard]] Status expect_version(const std::string& version);
  /// The digests that the engines give must be those of the checkpoint's files, for every tensor that is held whole.
  [[nodiscard]] Status compare_digests(const std::string& version);
  [[nodiscard]] Status stop_engines();

 private:
  struct Engine {
    Process process;
    std::string endpoint;
  };
  DemoStage(const DemoOptions& options, const AbortSignal& interrupt) : options_(options), interrupt_(&interrupt) {}
  [[nodiscard]] Result<ExitStatus> run(const std::vector<std::string>& arguments, bool show_output);
  [[nodiscard]] std::vector<std::string> update_arguments(const std::string& version) const;
  void say(const std::string& text) const;

  DemoOptions options_;
  const AbortSignal* interrupt_;
  bool temporary_ = false;
  std::string directory_;
  std::uint32_t tp_ = 0;
  std::vector<Engine> engines_;
};

}  // namespace ckpt
