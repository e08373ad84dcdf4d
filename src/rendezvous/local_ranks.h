/// The ranks of this host as direct child processes, and the store of their job in this one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "os/process.h"
#include "os/signals.h"
#include "rendezvous/rank_output.h"
#include "rendezvous/store_server.h"

namespace ckpt {

struct LocalRanksOptions {
  std::vector<std::string> command;
  std::uint32_t num_local = 1;
  std::uint32_t first_rank = 0;  ///< global rank of the first of them
  std::uint32_t num_ranks = 1;   ///< of the whole job
  StoreAddress store;            ///< where the ranks find the store
  std::string token;
  bool collect_outcomes = false;            ///< give each child a pipe for its status (see tell_outcome)
  std::optional<StoreAddress> master = {};  ///< told as MASTER_ADDR and MASTER_PORT, for commands that look for them
  bool label_output = false;                ///< print each line of a rank with its number before it
};

/// How one rank ended: its exit, and the status it told, if it told one.
struct RankEnd {
  ExitStatus exit;
  std::optional<Status> told;
  bool failed_first = false;  ///< the first one to fail by itself, before any was told to end
};

/// Owns the children: none is left when it ends. Threads: one.
class LocalRanks {
 public:
  /// All or none are started. Each gets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, CKPT_STORE_ADDRESS and CKPT_STORE_TOKEN.
  [[nodiscard]] static Result<LocalRanks> start(const LocalRanksOptions& options);

  /// Until all have ended. When one fails, the others have `grace` to end by themselves, then get SIGTERM, then SIGKILL; the same, without the first
  /// grace, when `abort` triggers or the deadline passes. `signals`: SIGINT is handed on as SIGINT.
  [[nodiscard]] std::vector<RankEnd> wait(Deadline deadline, Duration grace, const AbortSignal& abort, const InterruptSignals* signals = nullptr);

 private:
  struct Child {
    Process process;
    UniqueFd outcome;
  };
  [[nodiscard]] Status give_output(std::uint32_t rank, ProcessOptions& process, std::vector<UniqueFd>& ends);
  [[nodiscard]] std::size_t running();
  [[nodiscard]] bool any_failed();
  /// Until one of those that run has ended, the deadline or the abort.
  void wait_for_change(Deadline deadline, const AbortSignal& abort);
  void signal_all(int number);
  std::vector<Child> children_;
  std::optional<std::size_t> failed_first_;
  std::unique_ptr<RankOutput> output_;  // its thread needs a fixed place
};

/// In a child that was given a pipe: writes its status there, and returns true; the parent prints it then.
bool tell_outcome(const Status& status);
/// Whether this process has a parent that prints its error.
[[nodiscard]] bool has_outcome_pipe();

/// The rank that failed first, if one did by itself; and its error, in words for people.
struct FirstFailure {
  std::uint32_t rank;
  ExitStatus exit;
  Status status;
};
[[nodiscard]] std::optional<FirstFailure> first_failure(const std::vector<RankEnd>& ends, std::uint32_t first_rank);

/// The error of a whole job: ok if all ended well; else what the lowest rank told that failed; else how the first one died.
[[nodiscard]] Status job_status(const std::vector<RankEnd>& ends, std::uint32_t first_rank);

}  // namespace ckpt
