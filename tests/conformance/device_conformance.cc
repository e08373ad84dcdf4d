// What every Device must do. A backend registers a maker; backends whose hardware is absent are printed as skipped.
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstring>
#include <numeric>

#include "base/bytes.h"
#include "device/host/host_device.h"
#include "os/shared_memory.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

struct Backend {
  const char* name;
  Result<std::unique_ptr<Device>> (*make)();
};

const Backend kBackends[] = {
    {"host", [] { return make_host_device({3, 2}); }},
    {"host_one_thread", [] { return make_host_device({3, 1}); }},
};

class DeviceConformance : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    auto made = GetParam().make();
    if (!made.ok() && made.status().code() == StatusCode::unsupported) GTEST_SKIP() << made.status().to_string();
    ASSERT_OK(made);
    device_ = std::move(made).value();
  }
  static Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }
  static Bytes pattern(std::size_t bytes, unsigned seed) {
    Bytes data(bytes);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>((i * 31 + seed) & 0xff);
    return data;
  }
  std::unique_ptr<Device> device_;
  AbortSignal abort_;
};

TEST_P(DeviceConformance, CopiesOfAStreamRunInOrder) {
  auto buffer = device_->allocate(8 * MiB).value();
  auto stream = device_->create_stream().value();
  const Bytes first = pattern(8 * MiB, 1);
  const Bytes second = pattern(8 * MiB - 256, 2);
  ASSERT_OK(stream->copy_from_host(buffer->data(), first));
  ASSERT_OK(stream->copy_from_host(buffer->data() + 256, second));
  auto event = stream->record().value();
  ASSERT_OK(event->wait(soon(), abort_));
  EXPECT_TRUE(*event->done());
  ASSERT_TRUE(device_->host_addressable());
  EXPECT_EQ(std::memcmp(buffer->data(), first.data(), 256), 0);
  EXPECT_EQ(std::memcmp(buffer->data() + 256, second.data(), second.size()), 0);
}

TEST_P(DeviceConformance, AStreamWaitsForAnEventOfAnother) {
  auto buffer = device_->allocate(16 * MiB).value();
  auto a = device_->create_stream().value();
  auto b = device_->create_stream().value();
  for (unsigned round = 0; round < 20; ++round) {
    const Bytes first = pattern(16 * MiB, round);
    const Bytes second = pattern(4096, round + 1);
    ASSERT_OK(a->copy_from_host(buffer->data(), first));
    auto filled = a->record().value();
    ASSERT_OK(b->wait_for(*filled));
    ASSERT_OK(b->copy_from_host(buffer->data() + 12 * MiB, second));
    auto done = b->record().value();
    ASSERT_OK(done->wait(soon(), abort_));
    EXPECT_EQ(std::memcmp(buffer->data() + 12 * MiB, second.data(), second.size()), 0);
  }
}

TEST_P(DeviceConformance, AnEventWithNothingBeforeItIsDone) {
  auto stream = device_->create_stream().value();
  auto event = stream->record().value();
  EXPECT_OK(event->wait(soon(), abort_));
}

TEST_P(DeviceConformance, AnotherProcessMapsTheExportedBuffer) {
  auto buffer = device_->allocate(64 * KiB).value();
  auto stream = device_->create_stream().value();
  const Bytes data = pattern(64 * KiB, 9);
  ASSERT_OK(stream->copy_from_host(buffer->data(), data));
  ASSERT_OK(stream->record().value()->wait(soon(), abort_));
  const ExportedBuffer exported = buffer->exported();
  ASSERT_GE(exported.fd, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    void* seen = ::mmap(nullptr, exported.bytes, PROT_READ, MAP_SHARED, exported.fd, 0);
    ::_exit(seen != MAP_FAILED && std::memcmp(seen, data.data(), data.size()) == 0 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(DeviceConformance, TooMuchMemoryIsRefusedWithTheMissingBytes) {
  EXPECT_THAT(device_->allocate(std::uint64_t{1} << 50), Is(StatusCode::resource_exhausted, HasSubstr("bytes are missing")));
}

TEST_P(DeviceConformance, MemoryAndKeyAreTold) {
  const auto memory = device_->memory();
  ASSERT_OK(memory);
  EXPECT_GT(memory->free_bytes, 0u);
  EXPECT_LE(memory->free_bytes, memory->total_bytes);
  EXPECT_THAT(device_->key(), ::testing::EndsWith("-3"));
}

INSTANTIATE_TEST_SUITE_P(Device, DeviceConformance, ::testing::ValuesIn(kBackends),
                         [](const auto& backend) { return std::string(backend.param.name); });

}  // namespace
}  // namespace ckpt
