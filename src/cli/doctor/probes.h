/// The examinations of `ckpt-engine doctor`. Each looks at one side of this machine, changes nothing and never fails.
#pragma once

#include <vector>

#include "cli/doctor/finding.h"
#include "cli/doctor/machine_files.h"

namespace ckpt {

[[nodiscard]] std::vector<Finding> examine_processors(const MachineFiles& files);  ///< CPUs, quota, NUMA nodes
[[nodiscard]] std::vector<Finding> examine_memory(const MachineFiles& files);      ///< free memory, bound, huge pages
[[nodiscard]] std::vector<Finding> examine_limits(const MachineFiles& files);      ///< rlimits, /dev/shm, ptrace scope, runtime directory
[[nodiscard]] std::vector<Finding> examine_libraries();                            ///< GPU driver, NCCL, UCX, Mooncake: loaded to see
[[nodiscard]] std::vector<Finding> examine_network(const MachineFiles& files);     ///< RDMA devices, interfaces, ports

}  // namespace ckpt
