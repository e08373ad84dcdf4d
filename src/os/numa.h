/// Which NUMA node a device hangs on, and this thread kept there: a copy to a GPU from memory of the other node pays the link between them.
/// Raw system calls; nothing here can fail an update.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/result.h"

namespace ckpt {

/// Node of the PCI device `bus_id` ("0000:1b:00.0", as the CUDA driver or NVML print it). nullopt where the machine does not tell.
[[nodiscard]] std::optional<unsigned> numa_node_of_pci_device(std::string_view bus_id, const std::string& sys = "/sys");
/// Nodes that are online, in order; empty where the machine does not tell.
[[nodiscard]] std::vector<unsigned> numa_nodes(const std::string& sys = "/sys");
/// In order; empty for a node that is not there, or has memory only.
[[nodiscard]] std::vector<unsigned> cpus_of_numa_node(unsigned node, const std::string& sys = "/sys");

/// Lets the calling thread, and the threads that it starts from now on, run on those of `cpus` that it may use already. Returns how many these are.
/// failed_precondition: on none of them; then, and on any other error, nothing has changed.
[[nodiscard]] Result<unsigned> bind_thread_to_cpus(const std::vector<unsigned>& cpus);
/// Memory that the calling thread, and the threads that it starts from now on, touch first comes from `node` while it has some. In some containers
/// the call is not permitted.
[[nodiscard]] Status prefer_memory_of_node(unsigned node) noexcept;

/// All of the above for the node of the device `bus_id`: for the start of a rank, before it has threads and memory. What cannot be done is left
/// alone. One sentence says what was done, for the log and `doctor`: "0000:1b:00.0 is on NUMA node 1: threads run on 32 CPUs of it, memory is taken
/// from it".
[[nodiscard]] std::string bind_to_node_of_pci_device(std::string_view bus_id, const std::string& sys = "/sys");

}  // namespace ckpt
