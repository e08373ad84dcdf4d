#include <array>

#include "base/bytes.h"
#include "cli/doctor/probes.h"
#include "device/cuda/cuda_identity.h"
#include "os/numa.h"
#include "transfer/nccl/nccl_library.h"

namespace ckpt {
namespace {

constexpr const char* kTopic = "GPUs";

/// What the kernel's part of the driver says of itself: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  …" → "570.86.15".
std::string kernel_driver_version(const MachineFiles& files) {
  const std::string line = files.line("/proc/driver/nvidia/version").value_or("");
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = std::min(line.find(' ', begin), line.size());
    const std::string word = line.substr(begin, end - begin);
    if (!word.empty() && word.find_first_not_of("0123456789.") == std::string::npos && word.find('.') != std::string::npos) return word;
    begin = end + 1;
  }
  return "";
}

Finding driver_found(const MachineFiles& files, const CudaDriver& cuda, int count) {
  int api = 0;
  static_cast<void>(cuda.driver_version(&api));
  const std::string kernel = kernel_driver_version(files);
  return {kTopic,        "driver", fmt::format("{}CUDA {}.{}, {} GPU(s)", kernel.empty() ? "" : kernel + ", ", api / 1000, api % 1000 / 10, count),
          Verdict::good, "",       ""};
}

/// No GPU is no lack. A GPU whose driver cannot be used is.
Finding driver_missing(const MachineFiles& files, const Status& why) {
  const std::string kernel = kernel_driver_version(files);
  if (kernel.empty()) return {kTopic, "driver", why.message(), Verdict::note, "", "the device is host memory (--device host)"};
  return {kTopic,
          "driver",
          fmt::format("{} in the kernel, but {}", kernel, why.message()),
          Verdict::lack,
          "the GPUs of this machine cannot be used: engines on them are not updated",
          "install the user's part of the driver (libcuda.so.1) in the kernel's version; a container must be given the GPUs (--gpus all)"};
}

std::vector<GpuFacts> look_at_gpus(const CudaDriver& cuda, int count) {
  std::vector<GpuFacts> gpus;
  for (int i = 0; i < count; ++i) {
    const Result<CudaIdentity> identity = identify_cuda_device(cuda, i);
    if (!identity.ok()) continue;
    std::array<char, 128> name{};
    std::size_t bytes = 0;
    static_cast<void>(cuda.device_name(name.data(), static_cast<int>(name.size()) - 1, identity->device));
    static_cast<void>(cuda.device_total_memory(&bytes, identity->device));
    gpus.push_back({name.data(), identity->uuid, identity->slice, bytes, pci_bus_id_of(cuda, identity->device)});
  }
  return gpus;
}

std::string sysfs_of(const MachineFiles& files) { return files.root() + "/sys"; }

Finding numa_of(const GpuFacts& gpu, const std::string& what, const MachineFiles& files) {
  const std::size_t num_nodes = numa_nodes(sysfs_of(files)).size();
  const auto node = numa_node_of_pci_device(gpu.bus_id, sysfs_of(files));
  if (node) return {kTopic, what, fmt::format("node {}, {} CPUs", *node, cpus_of_numa_node(*node, sysfs_of(files)).size()), Verdict::good, "", ""};
  if (num_nodes <= 1) return {kTopic, what, "this machine has one node", Verdict::good, "", ""};
  return {kTopic,
          what,
          fmt::format("not told; this machine has {} nodes", num_nodes),
          Verdict::lack,
          "a rank's memory and threads may lie on the other node: copies to the GPU then share the link between the nodes",
          "bind each rank by hand, for example with numactl, or let the virtual machine or the firmware tell the node"};
}

}  // namespace

std::vector<Finding> describe_gpus(std::span<const GpuFacts> gpus, const MachineFiles& files) {
  std::vector<Finding> findings;
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    const GpuFacts& gpu = gpus[i];
    Finding finding{
        kTopic,
        fmt::format("GPU {}", i),
        fmt::format("{}, {}, {}, PCI {}", gpu.name, format_bytes(gpu.total_bytes), gpu.uuid, gpu.bus_id.empty() ? "not told" : gpu.bus_id),
        Verdict::good,
        "",
        ""};
    if (gpu.slice) {
      finding.verdict = Verdict::note;
      finding.mend = "a slice of a divided GPU (MIG): give --device-uuid with the name that the engine's worker looks up";
    }
    findings.push_back(std::move(finding));
    findings.push_back(numa_of(gpu, fmt::format("GPU {} NUMA", i), files));
  }
  return findings;
}

Finding describe_nccl(const Result<std::string>& version, std::size_t num_gpus) {
  if (version.ok()) return {kTopic, "NCCL", *version, Verdict::good, "", ""};
  if (num_gpus == 0) return {kTopic, "NCCL", "not found (not needed without GPUs)", Verdict::good, "", ""};
  return {kTopic,
          "NCCL",
          version.status().message(),
          Verdict::lack,
          "ranks on GPUs cannot exchange buckets: updates work with one rank only",
          version.status().advice()};
}

std::vector<Finding> examine_gpus(const MachineFiles& files, const std::string& nccl_library) {
  const Result<const CudaDriver*> cuda = load_cuda_driver();
  int count = 0;
  if (cuda.ok()) static_cast<void>((*cuda)->device_count(&count));
  const std::vector<GpuFacts> gpus = cuda.ok() ? look_at_gpus(**cuda, count) : std::vector<GpuFacts>();
  std::vector<Finding> findings{cuda.ok() ? driver_found(files, **cuda, count) : driver_missing(files, cuda.status())};
  const std::vector<Finding> each = describe_gpus(gpus, files);
  findings.insert(findings.end(), each.begin(), each.end());
  const Result<const NcclLibrary*> nccl = load_nccl(nccl_library);
  findings.push_back(describe_nccl(nccl.ok() ? Result<std::string>((*nccl)->version_text()) : nccl.status(), gpus.size()));
  return findings;
}

}  // namespace ckpt
