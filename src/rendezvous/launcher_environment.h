/// Which rank this process is, by the environment that its launcher set: torchrun, Slurm, Open MPI, MPICH and Intel MPI, or our own.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ckpt/result.h"
#include "rendezvous/group.h"

namespace ckpt {

struct LauncherEnvironment {
  std::string launcher;  ///< "ckpt-engine", "torchrun", "slurm", "open mpi", "pmi"
  std::uint32_t rank = 0;
  std::uint32_t num_ranks = 1;
  std::uint32_t local_rank = 0;
  std::uint32_t local_num_ranks = 1;
  StoreAddress store;            ///< where rank 0 (or our own launcher) has its store
  bool store_is_hosted = false;  ///< our own launcher hosts it; else rank 0 must
  std::string job;               ///< the launcher's name of this run, the same on every rank; empty: it gave none
};

/// Reads one variable; nullopt when unset or empty.
using Lookup = std::function<std::optional<std::string>(const char* variable)>;

/// nullopt: no launcher is known: one process alone. invalid_argument names the variable that is missing or cannot be read.
/// torchrun's agent keeps MASTER_PORT, so the store listens on MASTER_PORT + 1.
[[nodiscard]] Result<std::optional<LauncherEnvironment>> read_launcher_environment(const Lookup& lookup);

/// First host of a Slurm list: "node[01-03,07],login" → "node01". invalid_argument on what is no list.
[[nodiscard]] Result<std::string> first_slurm_host(std::string_view list);

}  // namespace ckpt
