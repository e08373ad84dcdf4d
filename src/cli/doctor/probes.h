/// The examinations of `ckpt-engine doctor`. Each looks at one side of this machine, changes nothing and never fails.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "cli/doctor/finding.h"
#include "cli/doctor/machine_files.h"

namespace ckpt {

[[nodiscard]] std::vector<Finding> examine_processors(const MachineFiles& files);  ///< CPUs, quota, NUMA nodes
[[nodiscard]] std::vector<Finding> examine_memory(const MachineFiles& files);      ///< free memory, bound, huge pages
[[nodiscard]] std::vector<Finding> examine_limits(const MachineFiles& files);      ///< rlimits, /dev/shm, ptrace scope, runtime directory
[[nodiscard]] std::vector<Finding> examine_gpus(const MachineFiles& files,
                                                const std::string& nccl_library = "");  ///< driver, each GPU, its NUMA node, NCCL
[[nodiscard]] std::vector<Finding> examine_libraries();                                 ///< UCX, Mooncake: loaded to see
[[nodiscard]] std::vector<Finding> examine_network(const MachineFiles& files);          ///< RDMA devices, interfaces, ports

/// What the driver tells of one GPU.
struct GpuFacts {
  std::string name;
  std::string uuid;
  bool slice = false;  ///< of a divided GPU
  std::uint64_t total_bytes = 0;
  std::string bus_id;  ///< empty where it is not told
};
/// Two findings a GPU: itself, and its NUMA node.
[[nodiscard]] std::vector<Finding> describe_gpus(std::span<const GpuFacts> gpus, const MachineFiles& files);
/// `version`: NCCL's, or why there is none.
[[nodiscard]] Finding describe_nccl(const Result<std::string>& version, std::size_t num_gpus);

}  // namespace ckpt
