// Which GPUs a process sees, and what they are called.
#include "cuda/device_table.h"

#include "support/test_process.h"
#include "tests/gpu_fixture.h"

namespace ckpt::fake {
namespace {

using Names = std::vector<std::string>;

/// As "0", "1", or "1.2" for the third slice of GPU 1.
Names seen(const char* visible, std::map<int, int> slices = {}) {
  Settings settings;
  settings.num_devices = 3;
  settings.slices = std::move(slices);
  if (visible != nullptr) settings.visible = visible;
  Names names;
  for (const VisibleDevice& device : visible_devices(settings)) names.push_back(device.place());
  return names;
}

TEST(VisibleDevices, AllUnlessTold) {
  EXPECT_EQ(seen(nullptr), (Names{"0", "1", "2"}));
  EXPECT_EQ(seen(""), Names{});
}

TEST(VisibleDevices, IndicesInTheirOrderUpToTheFirstThatIsNone) {
  EXPECT_EQ(seen("2,0"), (Names{"2", "0"}));
  EXPECT_EQ(seen("1,-1,0"), Names{"1"});
  EXPECT_EQ(seen("7,0"), Names{});
  EXPECT_EQ(seen("0,x"), Names{"0"});
  EXPECT_EQ(seen("1,1"), Names{});
}

TEST(VisibleDevices, PrefixesOfUuids) {
  EXPECT_EQ(seen("GPU-ef,GPU-f0fa4e00-0000-4000-8000-000000000000"), (Names{"1", "0"}));
  EXPECT_EQ(seen("GPU-"), Names{}) << "it could be any";
  EXPECT_EQ(seen("GPU-ab"), Names{});
}

TEST(VisibleDevices, SlicesOfADividedGpu) {
  EXPECT_EQ(seen(nullptr, {{1, 2}}), (Names{"0", "1.0", "2"}));
  EXPECT_EQ(seen("1", {{1, 2}}), Names{"1.0"});
  EXPECT_EQ(seen("MIG-21", {{1, 2}}), Names{"1.1"});
  EXPECT_EQ(seen("MIG-21,MIG-20", {{1, 2}}), (Names{"1.1", "1.0"}));
  EXPECT_EQ(seen("GPU-ef", {{1, 2}}), Names{"1.0"});
}

TEST(VisibleDevices, ASliceHasItsShareOfTheMemoryAndAUuidOfItsOwn) {
  Settings settings;
  settings.slices = {{0, 4}};
  settings.visible = "MIG-12";
  const VisibleDevice device = visible_devices(settings).at(0);
  EXPECT_EQ(device.bytes, settings.device_bytes / 4);
  EXPECT_EQ(uuid_text(device.gpu_uuid), "f0fa4e00-0000-4000-8000-000000000000");
  EXPECT_EQ(uuid_text(device.uuid), "12fa4e00-0000-4000-8000-000000000003");
  EXPECT_EQ(device.pci_bus_id(), "0000:1A:00.0");
}

/// One line a device: UUID of the GPU, of what is seen, bytes, PCI bus, name.
std::vector<std::string> listed(std::vector<std::string> environment) {
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "devices"}, std::move(environment));
  std::vector<std::string> lines = peer.read_lines();
  EXPECT_TRUE(peer.wait().ok());
  return lines;
}

TEST(VisibleDevices, AreWhatTheCallsTell) {
  EXPECT_EQ(listed({"CUDA_VISIBLE_DEVICES=1"}),
            Names{"effa4e00-0000-4000-8000-000000000100 effa4e00-0000-4000-8000-000000000100 2147483648 0000:2B:00.0 Software GPU"});
  EXPECT_EQ(listed({"CUDA_VISIBLE_DEVICES=MIG-1", "CKPT_FAKE_CUDA_SLICES=0:1", "CKPT_FAKE_CUDA_MEMORY=1MiB"}),
            Names{"f0fa4e00-0000-4000-8000-000000000000 10fa4e00-0000-4000-8000-000000000001 1048576 0000:1A:00.0 Software GPU MIG"});
  EXPECT_EQ(listed({"CKPT_FAKE_CUDA_DEVICES=4"}).size(), 4u);
  EXPECT_EQ(listed({"CUDA_VISIBLE_DEVICES="}), Names{"error 100"});
}

}  // namespace
}  // namespace ckpt::fake
