#include "hostpool/registered_memory.h"

#include <map>
#include <thread>

#include "base/bytes.h"
#include "device/host/host_device.h"
#include "os/shared_memory.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::ElementsAre;
using testing::Is;
using ::testing::IsEmpty;
using ::testing::Pair;

/// Writes down what it is told, as offsets from `base`. Host memory, whose own device has no use for it, stands in for a GPU.
class RecordingDevice final : public Device {
 public:
  explicit RecordingDevice(const std::byte* base) : base_(base) {}
  [[nodiscard]] std::string_view kind() const override { return host_->kind(); }
  [[nodiscard]] const std::string& key() const override { return host_->key(); }
  [[nodiscard]] bool host_addressable() const override { return true; }
  [[nodiscard]] Result<DeviceMemory> memory() const override { return host_->memory(); }
  [[nodiscard]] Result<std::unique_ptr<DeviceStream>> create_stream() override { return host_->create_stream(); }
  [[nodiscard]] Result<std::unique_ptr<DeviceBuffer>> allocate(std::uint64_t bytes) override { return host_->allocate(bytes); }
  [[nodiscard]] Status use_on_this_thread() override { return Status::success(); }
  [[nodiscard]] std::string pci_bus_id() const override { return {}; }
  [[nodiscard]] Status register_host(std::span<std::byte> memory, Access) override {
    const MutexLock lock(mutex_);
    if (fails) return {StatusCode::internal, Scope::operation, "no"};
    registered.emplace(memory.data() - base_, memory.size());
    return Status::success();
  }
  void unregister_host(std::span<std::byte> memory) noexcept override {
    const MutexLock lock(mutex_);
    EXPECT_EQ(registered.erase(memory.data() - base_), 1u);
  }

  std::map<std::ptrdiff_t, std::size_t> registered;
  bool fails = false;

 private:
  const std::byte* base_;
  std::unique_ptr<Device> host_ = make_host_device({0, 1}).value();
  Mutex mutex_;
};

constexpr std::uint64_t kPiece = RegisteredMemory::kPieceBytes;

class RegisteredMemoryTest : public ::testing::Test {
 protected:
  Mapping mapping_ = Mapping::anonymous(2 * kPiece + 4 * MiB).value();  // address space alone: no page is touched
  RecordingDevice device_{mapping_.data()};
};

TEST_F(RegisteredMemoryTest, EachPieceIsToldWhenItsLastBytesHaveCome) {
  {
    RegisteredMemory memory(device_, mapping_.span(), Access::read_write);
    memory.expect(0, kPiece / 2);
    memory.expect(kPiece / 2, kPiece);  // lies in two pieces
    memory.expect(kPiece * 3 / 2, kPiece / 2 + 4 * MiB);
    ASSERT_OK(memory.arrived(kPiece / 2, kPiece));
    EXPECT_THAT(device_.registered, IsEmpty());
    ASSERT_OK(memory.arrived(0, kPiece / 2));
    EXPECT_THAT(device_.registered, ElementsAre(Pair(0, kPiece)));
    ASSERT_OK(memory.arrived(kPiece * 3 / 2, kPiece / 2 + 4 * MiB));
    EXPECT_THAT(device_.registered, ElementsAre(Pair(0, kPiece), Pair(kPiece, kPiece), Pair(2 * kPiece, 4 * MiB)));
  }
  EXPECT_THAT(device_.registered, IsEmpty());
}

TEST_F(RegisteredMemoryTest, WhatDidNotComeIsNotUnregistered) {
  RegisteredMemory memory(device_, mapping_.span(), Access::read_write);
  memory.expect(0, kPiece);
  memory.expect(kPiece, kPiece);
  ASSERT_OK(memory.arrived(kPiece, kPiece));
  EXPECT_THAT(device_.registered, ElementsAre(Pair(kPiece, kPiece)));
}

TEST_F(RegisteredMemoryTest, AFailedRegistrationIsTheArrivalsError) {
  RegisteredMemory memory(device_, mapping_.span(), Access::read_write);
  memory.expect(0, kPiece);
  device_.fails = true;
  EXPECT_THAT(memory.arrived(0, kPiece), Is(StatusCode::internal));
}

TEST_F(RegisteredMemoryTest, ArrivalsOfSeveralThreadsCountEachOnce) {
  RegisteredMemory memory(device_, mapping_.span(), Access::read_write);
  for (std::uint64_t i = 0; i < 64; ++i) memory.expect(i * kPiece / 32, kPiece / 32);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&memory, t] {
      for (std::uint64_t i = t; i < 64; i += 4) EXPECT_OK(memory.arrived(i * kPiece / 32, kPiece / 32));
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(device_.registered, ElementsAre(Pair(0, kPiece), Pair(kPiece, kPiece)));
}

TEST(RegisteredMemoryBorders, LieAtEveryPiece) {
  EXPECT_EQ(RegisteredMemory::bytes_to_border(0), kPiece);
  EXPECT_EQ(RegisteredMemory::bytes_to_border(kPiece - 1), 1u);
  EXPECT_EQ(RegisteredMemory::bytes_to_border(kPiece), kPiece);
}

}  // namespace
}  // namespace ckpt
