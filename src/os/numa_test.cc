// NUMA nodes in a sysfs of the test's own; the calls are the system's.
#include "os/numa.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Is;
using ::testing::IsEmpty;

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  EXPECT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

/// Of the calling thread: policy and lowest node; -1 where the call is not permitted.
std::pair<int, int> memory_policy() {
  int policy = -1;
  unsigned long nodes[16] = {};
  if (::syscall(SYS_get_mempolicy, &policy, nodes, 8 * sizeof nodes, nullptr, 0UL) != 0) return {-1, -1};
  for (int node = 0; node < 64; ++node)
    if (((nodes[0] >> node) & 1) != 0) return {policy, node};
  return {policy, -1};
}

/// Bindings are a thread's own: each test has one.
void on_a_thread(const std::function<void()>& work) { std::thread(work).join(); }

class Numa : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(sys_ + path).parent_path());
    std::ofstream(sys_ + path) << text << '\n';
  }
  void gpu_on_node(const std::string& node) const { write("/bus/pci/devices/0000:1b:00.0/numa_node", node); }

  testing::TemporaryDirectory dir_;
  const std::string sys_ = dir_.path();
};

TEST_F(Numa, TheNodeOfADeviceIsFoundByAnyFormOfItsBusId) {
  gpu_on_node("3");
  write("/bus/pci/devices/10000:01:00.0/numa_node", "2");
  for (const char* id : {"0000:1b:00.0", "0000:1B:00.0", "00000000:1B:00.0"}) EXPECT_EQ(numa_node_of_pci_device(id, sys_), 3U) << id;
  EXPECT_EQ(numa_node_of_pci_device("10000:01:00.0", sys_), 2U);
}

TEST_F(Numa, WhatIsNotToldIsNotGuessed) {
  EXPECT_EQ(numa_node_of_pci_device("0000:1b:00.0", sys_), std::nullopt);
  for (const char* node : {"-1", "", "x", "99999999999999999999", "5000"}) {
    gpu_on_node(node);
    EXPECT_EQ(numa_node_of_pci_device("0000:1b:00.0", sys_), std::nullopt) << node;
  }
  gpu_on_node("1");
  for (const char* id : {"", "0000:1b:00", "0000:1b:00.0 ", "0000:1b:00.0/..", "1b:00.0", "0000:1b:00.", "../0000:1b:00.0", "0000-1b:00.0"})
    EXPECT_EQ(numa_node_of_pci_device(id, sys_), std::nullopt) << id;
}

TEST_F(Numa, ListsOfCpusAndNodes) {
  EXPECT_THAT(numa_nodes(sys_), IsEmpty());
  EXPECT_THAT(cpus_of_numa_node(0, sys_), IsEmpty());
  write("/devices/system/node/online", "0-1,3");
  EXPECT_THAT(numa_nodes(sys_), ElementsAre(0, 1, 3));
  write("/devices/system/node/node1/cpulist", "0-2,8,10-11");
  EXPECT_THAT(cpus_of_numa_node(1, sys_), ElementsAre(0, 1, 2, 8, 10, 11));
  write("/devices/system/node/node1/cpulist", "");
  EXPECT_THAT(cpus_of_numa_node(1, sys_), IsEmpty());
  write("/devices/system/node/node1/cpulist", "4-3,2,x-9,1");
  EXPECT_THAT(cpus_of_numa_node(1, sys_), ElementsAre(2));
  write("/devices/system/node/node1/cpulist", "8190-4294967295");
  EXPECT_THAT(cpus_of_numa_node(1, sys_), ElementsAre(8190, 8191));
}

TEST_F(Numa, AThreadKeepsToThoseOfTheCpusThatItMayUse) {
  on_a_thread([] {
    const std::vector<unsigned> before = allowed_cpus();
    const auto bound = bind_thread_to_cpus({before.back(), before.back() + 1, 8191, 100'000});
    ASSERT_OK(bound);
    EXPECT_EQ(*bound, 1U);
    EXPECT_THAT(allowed_cpus(), ElementsAre(before.back()));
    on_a_thread([&] { EXPECT_THAT(allowed_cpus(), ElementsAre(before.back())); });
    EXPECT_THAT(bind_thread_to_cpus({before.back() + 1}), Is(StatusCode::failed_precondition, HasSubstr("none of its 1 CPUs")));
    EXPECT_THAT(allowed_cpus(), ElementsAre(before.back()));
  });
}

TEST_F(Numa, ADevicesNodeIsBoundInOneCall) {
  on_a_thread([this] {
    const unsigned cpu = allowed_cpus().front();
    gpu_on_node("0");
    write("/devices/system/node/online", "0-1");
    write("/devices/system/node/node0/cpulist", fmt::format("{}", cpu));
    const std::string said = bind_to_node_of_pci_device("0000:1B:00.0", sys_);
    EXPECT_THAT(said, HasSubstr("0000:1B:00.0 is on NUMA node 0: threads run on 1 CPUs of it"));
    EXPECT_THAT(allowed_cpus(), ElementsAre(cpu));
    EXPECT_THAT(said, AnyOf(HasSubstr(", memory is taken from it"), HasSubstr(", memory from anywhere (set_mempolicy")));
    const auto [policy, node] = memory_policy();
    if (policy >= 0 && said.ends_with("memory is taken from it")) {
      EXPECT_EQ(policy, static_cast<int>(MPOL_PREFERRED));
      EXPECT_EQ(node, 0);
    }
  });
}

TEST_F(Numa, WhatCannotBeDoneIsSaidAndLeftAlone) {
  on_a_thread([this] {
    const std::vector<unsigned> before = allowed_cpus();
    EXPECT_THAT(bind_to_node_of_pci_device("0000:1b:00.0", sys_), HasSubstr("does not tell"));
    gpu_on_node("900");  // no machine has it
    write("/devices/system/node/node900/cpulist", "8000");
    const std::string said = bind_to_node_of_pci_device("0000:1b:00.0", sys_);
    EXPECT_THAT(said, HasSubstr("threads stay where they are (none of its 1 CPUs may be used by this process)"));
    EXPECT_THAT(said, HasSubstr("memory from anywhere (set_mempolicy"));
    write("/devices/system/node/online", "0");
    EXPECT_THAT(bind_to_node_of_pci_device("0000:1b:00.0", sys_), HasSubstr("has one NUMA node"));
    EXPECT_EQ(allowed_cpus(), before);
    EXPECT_NE(memory_policy().first, static_cast<int>(MPOL_PREFERRED));
  });
}

}  // namespace
}  // namespace ckpt
