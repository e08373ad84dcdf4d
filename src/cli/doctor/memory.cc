#include <fmt/format.h>

#include "base/bytes.h"
#include "cli/doctor/probes.h"
#include "os/limits.h"

namespace ckpt {
namespace {

Finding free_memory(const MachineFiles& files) {
  const std::uint64_t total = files.meminfo("MemTotal").value_or(0);
  const std::uint64_t available = files.meminfo("MemAvailable").value_or(0);
  Finding finding{"memory", "host memory", fmt::format("{} available of {}", format_bytes(available), format_bytes(total)), Verdict::good, "", ""};
  if (available < 4 * GiB) {
    finding.verdict = Verdict::note;
    finding.mend = "the ranks of a host hold the checkpoint once between them, and each holds its slots";
  }
  return finding;
}

/// The bound that loading checks before it takes memory.
Finding hard_bound() {
  const MemoryBound bound = hard_memory_bound();
  if (bound.limit.empty()) return {"memory", "bound", "none", Verdict::good, "", ""};
  return {"memory",      "bound", fmt::format("{} left by {}", format_bytes(bound.bytes), bound.limit),
          Verdict::note, "",      "page cache and /dev/shm may count too; a load that would exceed it is refused before it starts"};
}

Finding transparent_huge_pages(const MachineFiles& files) {
  const auto choices = files.line("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::string mode = choices ? chosen(*choices) : "not offered by this kernel";
  if (mode == "always" || mode == "madvise") return {"memory", "transparent huge pages", mode, Verdict::good, "", ""};
  return {"memory",
          "transparent huge pages",
          mode,
          Verdict::lack,
          "memory comes in pages of 4 KiB: populating and pinning the pool take several times as long",
          "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"};
}

Finding shared_huge_pages(const MachineFiles& files) {
  const auto choices = files.line("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  const std::string mode = choices ? chosen(*choices) : "not offered by this kernel";
  if (mode != "never" && choices) return {"memory", "huge pages for slots", mode, Verdict::good, "", ""};
  return {"memory",
          "huge pages for slots",
          mode,
          Verdict::note,
          "",
          "slots in host memory use 4 KiB pages: `echo advise | sudo tee "
          "/sys/kernel/mm/transparent_hugepage/shmem_enabled` makes their first use faster"};
}

Finding reserved_huge_pages(const MachineFiles& files) {
  const std::uint64_t pages = files.meminfo("HugePages_Total").value_or(0);
  const std::uint64_t size = files.meminfo("Hugepagesize").value_or(0);
  return {"memory", "reserved huge pages", pages == 0 ? "none (not needed)" : fmt::format("{} of {}", pages, format_bytes(size)), Verdict::good, "",
          ""};
}

}  // namespace

std::vector<Finding> examine_memory(const MachineFiles& files) {
  return {free_memory(files), hard_bound(), transparent_huge_pages(files), shared_huge_pages(files), reserved_huge_pages(files)};
}

}  // namespace ckpt
