#include "os/numa.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "base/fault_point.h"
#include "os/cgroup.h"
#include "os/error.h"

namespace ckpt {
namespace {

constexpr unsigned kMaxCpus = 8192;
constexpr unsigned kMaxNodes = 1024;

using CpuSet = std::array<cpu_set_t, kMaxCpus / CPU_SETSIZE>;

/// "0-3,8" as numbers below `limit`; what does not fit ends the list.
std::vector<unsigned> read_list(std::string_view text, unsigned limit) {
  std::vector<unsigned> numbers;
  while (!text.empty()) {
    unsigned first = 0;
    const auto begin = std::from_chars(text.data(), text.data() + text.size(), first);
    if (begin.ec != std::errc{}) break;
    text.remove_prefix(static_cast<std::size_t>(begin.ptr - text.data()));
    unsigned last = first;
    if (text.starts_with('-')) {
      const auto end = std::from_chars(text.data() + 1, text.data() + text.size(), last);
      if (end.ec != std::errc{}) break;
      text.remove_prefix(static_cast<std::size_t>(end.ptr - text.data()));
    }
    for (unsigned number = first; number <= last && number < limit; ++number) numbers.push_back(number);
    if (!text.starts_with(',')) break;
    text.remove_prefix(1);
  }
  return numbers;
}

/// As sysfs names it: the domain in at least four digits, letters small. nullopt for what is no bus id.
std::optional<std::string> sysfs_name(std::string_view bus_id) {
  std::array<unsigned, 4> part{};  // domain, bus, device, function
  constexpr std::string_view kEnds = "::.";
  const char* at = bus_id.data();
  const char* const end = at + bus_id.size();
  for (std::size_t i = 0; i < part.size(); ++i) {
    const auto [next, error] = std::from_chars(at, end, part[i], 16);
    if (error != std::errc{} || (i < kEnds.size() ? next == end || *next != kEnds[i] : next != end)) return std::nullopt;
    at = next + 1;
  }
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", part[0], part[1], part[2], part[3]);
}

std::string outcome(const Result<unsigned>& threads, const Status& memory) {
  const std::string on = threads.ok() ? fmt::format("threads run on {} CPUs of it", *threads)
                                      : fmt::format("threads stay where they are ({})", threads.status().message());
  return on + (memory.ok() ? ", memory is taken from it" : fmt::format(", memory from anywhere ({})", memory.message()));
}

}  // namespace

std::optional<unsigned> numa_node_of_pci_device(std::string_view bus_id, const std::string& sys) {
  const auto name = sysfs_name(bus_id);
  if (!name) return std::nullopt;
  const auto node = leading_number(text_of(sys + "/bus/pci/devices/" + *name + "/numa_node"));  // "-1": not told
  if (!node || *node >= kMaxNodes) return std::nullopt;
  return static_cast<unsigned>(*node);
}

std::vector<unsigned> numa_nodes(const std::string& sys) { return read_list(text_of(sys + "/devices/system/node/online"), kMaxNodes); }

std::vector<unsigned> cpus_of_numa_node(unsigned node, const std::string& sys) {
  return read_list(text_of(fmt::format("{}/devices/system/node/node{}/cpulist", sys, node)), kMaxCpus);
}

Result<unsigned> bind_thread_to_cpus(const std::vector<unsigned>& cpus) {
  CpuSet allowed{};
  CpuSet chosen{};
  CKPT_FAULT_POINT("sys.sched_getaffinity");
  if (::sched_getaffinity(0, sizeof allowed, allowed.data()) != 0) return errno_status(errno, "ask which CPUs this thread may use");
  for (const unsigned cpu : cpus)
    if (cpu < kMaxCpus && CPU_ISSET_S(cpu, sizeof allowed, allowed.data())) CPU_SET_S(cpu, sizeof chosen, chosen.data());
  const auto count = static_cast<unsigned>(CPU_COUNT_S(sizeof chosen, chosen.data()));
  if (count == 0) return Status(StatusCode::failed_precondition, Scope::process, "none of its {} CPUs may be used by this process", cpus.size());
  CKPT_FAULT_POINT("sys.sched_setaffinity");
  if (::sched_setaffinity(0, sizeof chosen, chosen.data()) != 0) return errno_status(errno, "choose the CPUs of this thread");
  return count;
}

Status prefer_memory_of_node(unsigned node) noexcept {
  constexpr unsigned kBits = 8 * sizeof(unsigned long);
  std::array<unsigned long, kMaxNodes / kBits> mask{};
  if (node >= kMaxNodes) return {StatusCode::invalid_argument, Scope::process, "there is no NUMA node {}", node};
  mask[node / kBits] = 1UL << (node % kBits);
  if (::syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask.data(), kMaxNodes + 1) == 0) return Status::success();
  return errno_status(errno, "set_mempolicy");
}

std::string bind_to_node_of_pci_device(std::string_view bus_id, const std::string& sys) {
  const std::size_t num_nodes = numa_nodes(sys).size();
  const std::optional<unsigned> node = numa_node_of_pci_device(bus_id, sys);
  if (num_nodes == 1) return fmt::format("{}: this machine has one NUMA node", bus_id);
  if (!node) return fmt::format("{}: the machine does not tell its NUMA node", bus_id);
  const Result<unsigned> threads = bind_thread_to_cpus(cpus_of_numa_node(*node, sys));
  return fmt::format("{} is on NUMA node {}: {}", bus_id, *node, outcome(threads, prefer_memory_of_node(*node)));
}

}  // namespace ckpt
