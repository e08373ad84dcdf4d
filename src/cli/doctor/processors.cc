#include <fmt/format.h>
#include <sched.h>

#include <charconv>
#include <thread>

#include "cli/doctor/probes.h"

namespace ckpt {
namespace {

unsigned usable_cpus() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return std::thread::hardware_concurrency();
  return static_cast<unsigned>(CPU_COUNT(&set));
}

/// CPUs that a cgroup's quota allows; 0 without a bound.
double quota_cpus(const MachineFiles& files) {
  double least = 0;
  for (const std::string& group : files.cgroups()) {
    const auto text = files.line(group + "/cpu.max");  // "200000 100000" or "max 100000"
    if (!text) continue;
    double quota = 0, period = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), quota);
    if (error != std::errc{} || end == text->data() + text->size()) continue;
    if (std::from_chars(end + 1, text->data() + text->size(), period).ec != std::errc{} || period <= 0) continue;
    if (least == 0 || quota / period < least) least = quota / period;
  }
  return least;
}

}  // namespace

std::vector<Finding> examine_processors(const MachineFiles& files) {
  std::vector<Finding> findings;
  const unsigned cpus = usable_cpus();
  findings.push_back({"processors", "CPUs", fmt::format("{} usable", cpus), Verdict::good, "", ""});
  if (cpus < 4)
    findings.back() = {"processors",  "CPUs", fmt::format("{} usable", cpus),
                       Verdict::note, "",     "a rank works best with 2 or more: reading, copying and exchanging run at once"};
  if (const double quota = quota_cpus(files); quota > 0 && quota < cpus)
    findings.push_back({"processors", "CPU quota", fmt::format("{:.1f} CPUs", quota), Verdict::lack,
                        "threads are paused when the quota of a period is used up: rates vary and heartbeats come late",
                        "raise the container's CPU limit, or start fewer ranks"});
  const std::size_t nodes = files.names("/sys/devices/system/node", "node").size();
  findings.push_back({"processors", "NUMA nodes", fmt::format("{}", nodes == 0 ? 1 : nodes), Verdict::good, "", ""});
  return findings;
}

}  // namespace ckpt
