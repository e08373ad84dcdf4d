#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/options.h"
#include "cli/doctor/probes.h"

namespace ckpt {
namespace {

constexpr rlim_t kEnoughFiles = 4096;

std::optional<rlim_t> soft_limit(__rlimit_resource_t resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return std::nullopt;
  return limit.rlim_cur;
}

Finding memlock() {
  const auto limit = soft_limit(RLIMIT_MEMLOCK);
  const std::string value = !limit ? "unknown" : *limit == RLIM_INFINITY ? "unlimited" : format_bytes(*limit);
  if (limit == RLIM_INFINITY) return {"limits", "memlock", value, Verdict::good, "", ""};
  return {"limits",      "memlock", value,
          Verdict::note, "",        "RDMA needs `ulimit -l unlimited` (containers: --ulimit memlock=-1); host memory and GPUs without RDMA do not"};
}

Finding open_files() {
  const auto limit = soft_limit(RLIMIT_NOFILE);
  const std::string value = !limit ? "unknown" : *limit == RLIM_INFINITY ? "unlimited" : fmt::format("{}", *limit);
  if (!limit || *limit >= kEnoughFiles) return {"limits", "open files", value, Verdict::good, "", ""};
  return {"limits",         "open files", value, Verdict::lack, "the store refuses ranks beyond the limit: each holds a few descriptors on its host",
          "ulimit -n 65536"};
}

Finding shared_memory() {
  struct statvfs stat {};
  if (::statvfs("/dev/shm", &stat) != 0)
    return {"limits", "/dev/shm", "not mounted", Verdict::note, "", "only checkpoints kept there need it; slots are descriptors without a name"};
  const std::uint64_t unit = stat.f_frsize;
  const std::uint64_t total = stat.f_blocks * unit, available = stat.f_bavail * unit;
  const std::string value = fmt::format("{} free of {}", format_bytes(available), format_bytes(total));
  if (total > 256 * MiB) return {"limits", "/dev/shm", value, Verdict::good, "", ""};
  return {"limits", "/dev/shm",
          value,    Verdict::note,
          "",       "too small for UCX's shared memory or a checkpoint kept there: docker run --shm-size, or mount -o remount,size=…"};
}

Finding ptrace_scope(const MachineFiles& files) {
  const auto scope = files.number("/proc/sys/kernel/yama/ptrace_scope");
  if (!scope || *scope <= 1 || ::geteuid() == 0)  // 1: ranks name their parent, so that siblings may read them
    return {"limits", "ptrace scope", scope ? fmt::format("{}", *scope) : "unrestricted", Verdict::good, "", ""};
  return {"limits",
          "ptrace scope",
          fmt::format("{}", *scope),
          Verdict::lack,
          "ranks of one host exchange through a copy more: they cannot read each other's memory",
          "sudo sysctl kernel.yama.ptrace_scope=1"};
}

/// Where sockets of engine sessions and the journal of open sessions live.
Finding runtime_directory() {
  const auto given = environment("XDG_RUNTIME_DIR");
  if (!given)
    return {"limits",
            "runtime directory",
            fmt::format("a private folder of user {} in /tmp", ::geteuid()),
            Verdict::note,
            "",
            "XDG_RUNTIME_DIR is not set; engines in other containers need --socket-dir on a mount that both see"};
  struct stat stat {};
  if (::stat(given->c_str(), &stat) != 0 || !S_ISDIR(stat.st_mode))
    return {"limits",
            "runtime directory",
            *given + " is no directory",
            Verdict::lack,
            "sessions with engines cannot keep their sockets and their journal there",
            fmt::format("mkdir -m 700 -p {}, or unset XDG_RUNTIME_DIR", *given)};
  if (stat.st_uid != ::geteuid() || (stat.st_mode & 077) != 0)
    return {"limits",
            "runtime directory",
            *given + " is open to others",
            Verdict::lack,
            "it is refused: who can write there could take an engine's weights over",
            fmt::format("chmod 700 {}", *given)};
  return {"limits", "runtime directory", *given, Verdict::good, "", ""};
}

}  // namespace

std::vector<Finding> examine_limits(const MachineFiles& files) {
  return {memlock(), open_files(), shared_memory(), ptrace_scope(files), runtime_directory()};
}

}  // namespace ckpt
