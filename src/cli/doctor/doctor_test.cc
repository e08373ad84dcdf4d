#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/doctor/probes.h"

namespace ckpt {
namespace {

/// A made-up machine: a folder with the files that /proc and /sys would have.
class Doctor : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = std::filesystem::temp_directory_path() / "doctor-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  [[nodiscard]] MachineFiles files() const { return MachineFiles(root_); }

  static const Finding* find(const std::vector<Finding>& findings, std::string_view what) {
    for (const Finding& finding : findings)
      if (finding.what == what) return &finding;
    return nullptr;
  }
  const GpuFacts kGpu{"NVIDIA H200", "GPU-e50fd23a-7566-1529-be45-8d8854b391c8", false, 150'000'000'000, "0000:1B:00.0"};
  std::string root_;
};

TEST_F(Doctor, MemoryIsReadInBytesOfAnyUnit) {
  write("/proc/meminfo", "MemTotal:       2000000 kB\nMemAvailable:   1000000 kB\nHugePages_Total:      16\nHugepagesize:       2048 kB\n");
  EXPECT_EQ(files().meminfo("MemAvailable"), 1'024'000'000U);
  EXPECT_EQ(files().meminfo("HugePages_Total"), 16U);
  EXPECT_EQ(files().meminfo("Absent"), std::nullopt);
  EXPECT_EQ(find(examine_memory(files()), "reserved huge pages")->value, "16 of 2.10 MB");
}

TEST_F(Doctor, HugePagesThatAreOffAreALackWithItsMend) {
  write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  const auto findings = examine_memory(files());
  const Finding* finding = find(findings, "transparent huge pages");
  ASSERT_NE(finding, nullptr);
  EXPECT_EQ(finding->verdict, Verdict::lack);
  EXPECT_NE(finding->mend.find("madvise"), std::string::npos);
  write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  EXPECT_EQ(find(examine_memory(files()), "transparent huge pages")->verdict, Verdict::good);
}

TEST_F(Doctor, ACpuQuotaBelowTheCpusIsALack) {
  write("/proc/self/cgroup", "0::/\n");
  write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  const auto findings = examine_processors(files());
  ASSERT_NE(find(findings, "CPU quota"), nullptr);
  EXPECT_EQ(find(findings, "CPU quota")->value, "0.5 CPUs");
  write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(find(examine_processors(files()), "CPU quota"), nullptr);
}

TEST_F(Doctor, RdmaPortsAreListedWithTheirState) {
  EXPECT_EQ(find(examine_network(files()), "RDMA devices")->value, "none");
  write("/sys/class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n");
  write("/sys/class/infiniband/mlx5_0/ports/1/rate", "400 Gb/sec (4X NDR)\n");
  write("/sys/class/infiniband/mlx5_1/ports/1/state", "1: DOWN\n");
  const auto findings = examine_network(files());
  EXPECT_EQ(find(findings, "RDMA mlx5_0 port 1")->value, "4: ACTIVE, 400 Gb/sec (4X NDR)");
  EXPECT_EQ(find(findings, "RDMA mlx5_1 port 1")->verdict, Verdict::lack);
}

TEST_F(Doctor, ALackSaysWhatItCostsAndNothingElseDoes) {
  for (const auto& findings : {examine_processors(files()), examine_memory(files()), examine_limits(files()), examine_gpus(files()),
                               examine_libraries(), examine_network(files()), describe_gpus(std::vector<GpuFacts>{kGpu}, files())})
    for (const Finding& finding : findings) {
      EXPECT_EQ(finding.verdict == Verdict::lack, !finding.cost.empty()) << finding.what;
      EXPECT_TRUE(finding.verdict != Verdict::lack || !finding.mend.empty()) << finding.what;
    }
}

TEST_F(Doctor, AGpuIsTheDriversNameUuidMemoryAndPlace) {
  const auto findings = describe_gpus(std::vector<GpuFacts>{kGpu}, files());
  EXPECT_EQ(find(findings, "GPU 0")->value, "NVIDIA H200, 150 GB, GPU-e50fd23a-7566-1529-be45-8d8854b391c8, PCI 0000:1B:00.0");
  EXPECT_EQ(find(findings, "GPU 0")->verdict, Verdict::good);
  GpuFacts slice = kGpu;
  slice.slice = true;
  EXPECT_EQ(find(describe_gpus(std::vector<GpuFacts>{slice}, files()), "GPU 0")->verdict, Verdict::note);
}

TEST_F(Doctor, AGpuWhoseNumaNodeIsNotToldIsALackWhereThereAreSeveral) {
  const std::vector<GpuFacts> gpus{kGpu};
  EXPECT_EQ(find(describe_gpus(gpus, files()), "GPU 0 NUMA")->verdict, Verdict::good);
  write("/sys/devices/system/node/online", "0-1\n");
  EXPECT_EQ(find(describe_gpus(gpus, files()), "GPU 0 NUMA")->verdict, Verdict::lack);
  write("/sys/bus/pci/devices/0000:1b:00.0/numa_node", "1\n");
  write("/sys/devices/system/node/node1/cpulist", "32-63\n");
  const auto findings = describe_gpus(gpus, files());
  EXPECT_EQ(find(findings, "GPU 0 NUMA")->verdict, Verdict::good);
  EXPECT_EQ(find(findings, "GPU 0 NUMA")->value, "node 1, 32 CPUs");
}

TEST_F(Doctor, NcclIsOnlyMissedWhereThereAreGpus) {
  const Status absent(StatusCode::unsupported, Scope::process, "libnccl.so.2: not found");
  EXPECT_EQ(describe_nccl(absent, 0).verdict, Verdict::good);
  EXPECT_EQ(describe_nccl(absent, 2).verdict, Verdict::lack);
  EXPECT_EQ(describe_nccl(absent, 2).value, "libnccl.so.2: not found");
  EXPECT_EQ(describe_nccl(Result<std::string>("2.28.9"), 2).value, "2.28.9");
}

TEST_F(Doctor, ADriverOfTheKernelAloneIsALack) {
  const auto driver = [this] { return *find(examine_gpus(files()), "driver"); };
  if (driver().verdict == Verdict::good) return;  // this machine has one
  EXPECT_EQ(driver().verdict, Verdict::note);
  EXPECT_NE(driver().mend.find("--device host"), std::string::npos);
  write("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 22:50:36 UTC 2025\n");
  EXPECT_EQ(driver().verdict, Verdict::lack);
  EXPECT_NE(driver().value.find("570.86.15 in the kernel, but the CUDA driver cannot be loaded"), std::string::npos) << driver().value;
}

TEST(DoctorOutput, JsonCountsTheLacks) {
  const std::vector<Finding> findings = {{"memory", "a", "1", Verdict::good, "", ""}, {"memory", "b", "\"\xff", Verdict::lack, "slow", "mend it"}};
  const auto document = nlohmann::json::parse(findings_json(findings));
  EXPECT_EQ(document["lacks"], 1);
  EXPECT_EQ(document["findings"][1]["verdict"], "lack");
}

TEST(DoctorOutput, TextNamesEachTopicOnce) {
  const std::vector<Finding> findings = {{"memory", "a", "1", Verdict::good, "", ""}, {"memory", "b", "2", Verdict::lack, "slow", "mend it"}};
  const std::string text = findings_text(findings);
  EXPECT_EQ(text.find("memory"), text.rfind("memory"));
  EXPECT_NE(text.find("costs: slow"), std::string::npos);
  EXPECT_NE(text.find("1 lacking"), std::string::npos);
}

}  // namespace
}  // namespace ckpt
