/// The ranks of this host as direct child processes, and the store of their job in this one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "os/process.h"
#include "rendezvous/store_server.h"

namespace ckpt {

struct LocalRanksOptions {
  std::vector<std::string> command;
  std::uint32_t num_local = 1;
  std::uint32_t first_rank = 0;  ///< global rank of the first of them
  std::uint32_t num_ranks = 1;   ///< of the whole job
  StoreAddress store;            ///< where the ranks find the store
  std::string token;
  bool collect_outcomes = false;  ///< give each child a pipe for its status (see tell_outcome)
};

/// How one rank ended: its exit, and the status it told, if it told one.
struct RankEnd {
  ExitStatus exit;
  std::optional<Status> told;
};

/// Owns the children: none is left when it ends. Threads: one.
class LocalRanks {
 public:
  /// All or none are started. Each gets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, CKPT_STORE_ADDRESS and CKPT_STORE_TOKEN.
  [[nodiscard]] static Result<LocalRanks> start(const LocalRanksOptions& options);

  /// Until all have ended. When one fails, the others have `grace` to end by themselves, then get SIGTERM, then SIGKILL; the same, without the first
  /// grace, when `abort` triggers or the deadline passes.
  [[nodiscard]] std::vector<RankEnd> wait(Deadline deadline, Duration grace, const AbortSignal& abort);

 private:
  struct Child {
    Process process;
    UniqueFd outcome;
  };
  [[nodiscard]] std::size_t running();
  [[nodiscard]] bool any_failed();
  void signal_all(int number);
  std::vector<Child> children_;
};

/// In a child that was given a pipe: writes its status there, and returns true; the parent prints it then.
bool tell_outcome(const Status& status);
/// Whether this process has a parent that prints its error.
[[nodiscard]] bool has_outcome_pipe();

/// The error of a whole job: ok if all ended well; else what the lowest rank told that failed; else how the first one died.
[[nodiscard]] Status job_status(const std::vector<RankEnd>& ends, std::uint32_t first_rank);

}  // namespace ckpt
