// What every Device must do. A backend registers a maker; backends whose hardware is absent are printed as skipped.
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "conformance/device_bytes.h"
#include "device/cuda/cuda_device.h"
#include "device/host/host_device.h"
#include "os/fd_passing.h"
#include "os/memory.h"
#include "os/shared_memory.h"
#include "support/matchers.h"
#include "support/test_process.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;

struct Backend {
  const char* name;
  Result<std::unique_ptr<Device>> (*make)();
};

const Backend kBackends[] = {
    {"host", [] { return make_host_device({3, 2}); }},
    {"host_one_thread", [] { return make_host_device({3, 1}); }},
    {"cuda", [] { return make_cuda_device({0, ""}); }},
};

class DeviceConformance : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    auto made = GetParam().make();
    if (!made.ok() && made.status().code() == StatusCode::unsupported) GTEST_SKIP() << made.status().to_string();
    ASSERT_OK(made);
    device_ = std::move(made).value();
  }
  static Bytes pattern(std::size_t bytes, unsigned seed) {
    Bytes data(bytes);
    for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
      const std::uint64_t word = (at + 1) * 0x9e3779b97f4a7c15u + seed;
      std::memcpy(data.data() + at, &word, std::min(sizeof word, bytes - at));
    }
    return data;
  }
  /// Of memory of the device; no work on it is under way.
  Bytes at(const std::byte* address, std::size_t bytes) const {
    auto read = testing::read_device(*device_, address, bytes);
    EXPECT_OK(read);
    return read.ok() ? std::move(read).value() : Bytes();
  }
  void expect(const std::byte* address, std::span<const std::byte> expected) const {
    const Bytes found = at(address, expected.size());
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end()));
  }
  /// A forked process receives the descriptor and sees `data`.
  void expect_another_process_maps(const ExportedBuffer& exported, const Bytes& data) const {
    int sockets[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    UniqueFd ours(sockets[0]);
    UniqueFd theirs(sockets[1]);
    const pid_t child = ::fork();
    if (child == 0) {
      auto received = receive_fds(theirs.get(), 64, soon(), abort_);
      if (!received.ok() || received->fds.size() != 1) ::_exit(2);
      const auto seen = Mapping::shared(received->fds[0].get(), exported.bytes, Access::read_only);
      ::_exit(seen.ok() && std::memcmp(seen->data(), data.data(), data.size()) == 0 ? 0 : 1);
    }
    EXPECT_OK(send_fds(ours.get(), std::span(&exported.fd, 1), "slots", soon(), abort_));
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  /// A new process, as a GPU needs it, opens the handle and sees `data`.
  static void expect_another_process_opens(const ExportedBuffer& exported, const Bytes& data) {
    ASSERT_EQ(exported.cuda_ipc_handle.size(), 64u);
    std::string handle;
    for (const char byte : exported.cuda_ipc_handle) handle += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "handle_reader";
    testing::TestProcess reader({beside.string(), handle, std::to_string(data.size())});
    EXPECT_EQ(reader.read_line(), fmt::format("{:016x}", testing::checksum(data)));
    EXPECT_TRUE(reader.wait().ok());
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
  expect(buffer->data(), std::span(first).first(256));
  expect(buffer->data() + 256, second);
}

TEST_P(DeviceConformance, WhatWasCopiedThereComesBack) {
  auto buffer = device_->allocate(1 * MiB).value();
  auto stream = device_->create_stream().value();
  const Bytes there = pattern(1 * MiB, 3);
  Bytes back(there.size() - 512);
  ASSERT_OK(stream->copy_from_host(buffer->data(), there));
  ASSERT_OK(stream->copy_to_host(back, buffer->data() + 256));
  ASSERT_OK(stream->copy_to_host({}, nullptr));
  ASSERT_OK(stream->record().value()->wait(soon(), abort_));
  EXPECT_TRUE(std::equal(back.begin(), back.end(), there.begin() + 256));
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
    expect(buffer->data() + 12 * MiB, second);
  }
}

TEST_P(DeviceConformance, AnEventWithNothingBeforeItIsDone) {
  auto stream = device_->create_stream().value();
  auto event = stream->record().value();
  EXPECT_OK(event->wait(soon(), abort_));
}

TEST_P(DeviceConformance, CopiesThatReadWhatEarlierOnesWroteSeeIt) {
  if (!device_->host_addressable()) return;
  auto buffer = device_->allocate(16 * MiB).value();
  auto stream = device_->create_stream().value();
  std::byte* at = buffer->data();
  for (unsigned round = 0; round < 20; ++round) {
    const Bytes first = pattern(5 * MiB, round);
    const Bytes second = pattern(5 * MiB, round + 100);
    ASSERT_OK(stream->copy_from_host(at, first));
    ASSERT_OK(stream->copy_from_host(at + 5 * MiB, {at, 5 * MiB}));  // reads what the copy before wrote
    ASSERT_OK(stream->copy_from_host(at + 10 * MiB, {at + 5 * MiB, 5 * MiB}));
    ASSERT_OK(stream->copy_from_host(at, second));  // overwrites what a copy before reads
    ASSERT_OK(stream->record().value()->wait(soon(), abort_));
    EXPECT_EQ(std::memcmp(at, second.data(), second.size()), 0);
    EXPECT_EQ(std::memcmp(at + 5 * MiB, first.data(), first.size()), 0);
    EXPECT_EQ(std::memcmp(at + 10 * MiB, first.data(), first.size()), 0);
  }
}

TEST_P(DeviceConformance, ManySmallCopiesAndEmptyOnes) {
  constexpr std::size_t kCopies = 5000;
  auto buffer = device_->allocate(4 * MiB).value();
  auto stream = device_->create_stream().value();
  const Bytes data = pattern(4 * MiB, 3);
  std::size_t at = 0;
  for (std::size_t i = 0; i < kCopies; ++i) {
    const std::size_t bytes = i % 7 == 0 ? 0 : (i * 37) % 800;
    ASSERT_OK(stream->copy_from_host(buffer->data() + at, std::span(data).subspan(at, bytes)));
    at += bytes;
  }
  ASSERT_LT(at, data.size());
  ASSERT_OK(stream->record().value()->wait(soon(), abort_));
  expect(buffer->data(), std::span(data).first(at));
}

TEST_P(DeviceConformance, StreamsShareTheDevice) {
  constexpr std::size_t kPart = 6 * MiB;
  auto buffer = device_->allocate(3 * kPart).value();
  std::vector<std::unique_ptr<DeviceStream>> streams;
  std::vector<std::unique_ptr<DeviceEvent>> events;
  std::vector<Bytes> data;
  for (unsigned i = 0; i < 3; ++i) {
    streams.push_back(device_->create_stream().value());
    data.push_back(pattern(kPart, 50 + i));
  }
  for (unsigned round = 0; round < 10; ++round)
    for (std::size_t i = 0; i < 3; ++i) ASSERT_OK(streams[i]->copy_from_host(buffer->data() + i * kPart, data[(i + round) % 3]));
  for (auto& stream : streams) events.push_back(stream->record().value());
  for (auto& event : events) ASSERT_OK(event->wait(soon(), abort_));
  for (std::size_t i = 0; i < 3; ++i) expect(buffer->data() + i * kPart, data[(i + 9) % 3]);
}

TEST_P(DeviceConformance, AWaitEndsAtItsDeadlineAndOnAbort) {
  auto buffer = device_->allocate(16 * MiB).value();
  auto stream = device_->create_stream().value();
  const auto data = Mapping::anonymous(16 * MiB).value();
  ASSERT_OK(populate(data.span(), 1));
  ASSERT_OK(device_->register_host(data.span(), Access::read_write));  // else a GPU's copies end with their calls
  AbortSignal stopped;
  stopped.trigger({StatusCode::cancelled, Scope::operation, "enough"});
  Status late;
  Status cut;
  for (int copies = 50; copies < 10'000 && (late.ok() || cut.ok()); copies *= 2) {  // until the machine is slower than this thread
    for (int i = 0; i < copies; ++i) ASSERT_OK(stream->copy_from_host(buffer->data(), data.span()));
    auto event = stream->record().value();
    late = event->wait(Deadline::after(std::chrono::nanoseconds(1)), abort_);
    cut = event->wait(soon(), stopped);
    EXPECT_OK(event->wait(soon(), abort_));  // a wait that ended early leaves the work running
  }
  EXPECT_THAT(late, Is(StatusCode::deadline_exceeded));
  EXPECT_THAT(cut, Is(StatusCode::cancelled, HasSubstr("enough")));
  device_->unregister_host(data.span());
}

TEST_P(DeviceConformance, AStreamThatEndsFinishesItsWork) {
  auto buffer = device_->allocate(32 * MiB).value();
  const Bytes data = pattern(32 * MiB, 5);
  auto stream = device_->create_stream().value();
  ASSERT_OK(stream->copy_from_host(buffer->data(), data));
  auto event = stream->record().value();
  stream.reset();
  ASSERT_OK(event->wait(soon(), abort_));
  expect(buffer->data(), data);
}

TEST_P(DeviceConformance, RegisteredMemoryIsCopiedFromAnyPlaceInIt) {
  constexpr std::size_t kPiece = 2 * MiB;
  auto buffer = device_->allocate(3 * kPiece).value();
  auto stream = device_->create_stream().value();
  const auto memory = Mapping::anonymous(3 * kPiece).value();
  const Bytes data = pattern(3 * kPiece, 8);
  std::memcpy(memory.data(), data.data(), data.size());
  for (int round = 0; round < 2; ++round) {  // registered again as before
    for (const std::size_t piece : {0u, 2u}) ASSERT_OK(device_->register_host(memory.span().subspan(piece * kPiece, kPiece), Access::read_write));
    ASSERT_OK(stream->copy_from_host(buffer->data(), memory.span().first(100)));
    ASSERT_OK(stream->copy_from_host(buffer->data() + 100, memory.span().subspan(100, kPiece - 100)));
    ASSERT_OK(stream->copy_from_host(buffer->data() + kPiece, memory.span().subspan(kPiece, kPiece)));  // not registered
    ASSERT_OK(stream->copy_from_host(buffer->data() + 2 * kPiece, memory.span().subspan(2 * kPiece, kPiece)));
    ASSERT_OK(stream->record().value()->wait(soon(), abort_));
    expect(buffer->data(), data);
    for (const std::size_t piece : {0u, 2u}) device_->unregister_host(memory.span().subspan(piece * kPiece, kPiece));
  }
}

TEST_P(DeviceConformance, MemoryThatIsMappedReadOnlyCanBeRegistered) {
  const UniqueFd file = create_memfd("read-only", 1 * MiB).value();
  const auto memory = Mapping::shared(file.get(), 1 * MiB, Access::read_only).value();
  ASSERT_OK(device_->register_host(memory.span(), Access::read_only));
  auto buffer = device_->allocate(1 * MiB).value();
  auto stream = device_->create_stream().value();
  ASSERT_OK(stream->copy_from_host(buffer->data(), memory.span()));
  ASSERT_OK(stream->record().value()->wait(soon(), abort_));
  expect(buffer->data(), Bytes(1 * MiB));
  device_->unregister_host(memory.span());
}

TEST_P(DeviceConformance, AnEventTellsWhenItWasReachedWhereTheDeviceHasAClock) {
  auto stream = device_->create_stream().value();
  auto first = stream->record().value();
  auto second = stream->record().value();
  ASSERT_OK(second->wait(soon(), abort_));
  const auto begin = first->reached_at_ns();
  const auto end = second->reached_at_ns();
  EXPECT_EQ(begin.has_value(), !device_->host_addressable());
  EXPECT_LE(begin.value_or(0), end.value_or(0));
}

TEST_P(DeviceConformance, AnotherProcessMapsTheExportedBuffer) {
  auto buffer = device_->allocate(64 * KiB).value();
  auto stream = device_->create_stream().value();
  const Bytes data = pattern(64 * KiB, 9);
  ASSERT_OK(stream->copy_from_host(buffer->data(), data));
  ASSERT_OK(stream->record().value()->wait(soon(), abort_));
  const ExportedBuffer exported = buffer->exported();
  EXPECT_EQ(exported.bytes, data.size());
  EXPECT_NE(exported.cuda_ipc_handle.empty(), exported.fd < 0);
  if (exported.fd >= 0)
    expect_another_process_maps(exported, data);
  else
    expect_another_process_opens(exported, data);
}

TEST_P(DeviceConformance, NothingIsLeftOfADevice) {
  const auto count = [](const char* directory) {
    return std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator());
  };
  device_.reset();
  const auto fds = count("/proc/self/fd");
  const auto threads = count("/proc/self/task");
  for (int round = 0; round < 3; ++round) {
    auto device = GetParam().make().value();
    auto buffer = device->allocate(1 * MiB).value();
    auto stream = device->create_stream().value();
    const Bytes data = pattern(1 * MiB, 6);
    ASSERT_OK(stream->copy_from_host(buffer->data(), data));
    ASSERT_OK(stream->record().value()->wait(soon(), abort_));
  }
  EXPECT_EQ(count("/proc/self/fd"), fds);
  const Deadline deadline = soon();  // a joined thread leaves /proc a moment later
  while (count("/proc/self/task") != threads && !deadline.passed()) ::sched_yield();
  EXPECT_EQ(count("/proc/self/task"), threads);
}

#if defined(CKPT_FAULT_POINTS)
TEST_P(DeviceConformance, EverySystemCallMayFail) {
  auto use = [this]() -> Status {
    CKPT_ASSIGN_OR_RETURN(auto device, GetParam().make());
    CKPT_ASSIGN_OR_RETURN(auto buffer, device->allocate(1 * MiB));
    CKPT_ASSIGN_OR_RETURN(auto stream, device->create_stream());
    const Bytes data = pattern(1 * MiB, 6);
    CKPT_RETURN_IF_ERROR(stream->copy_from_host(buffer->data(), data));
    CKPT_ASSIGN_OR_RETURN(auto event, stream->record());
    const Status waited = event->wait(soon(), abort_);
    stream.reset();  // before its source
    return waited;
  };
  int failures = 0;
  for (std::uint64_t nth = 1;; ++nth) {
    ASSERT_OK(set_fault_rules(fmt::format("*:{}:error", nth)));
    const Status outcome = use();
    const bool fired = fault_point_passes() >= nth;
    ASSERT_OK(set_fault_rules(""));
    if (!fired) break;
    if (!outcome.ok()) ++failures;
  }
  EXPECT_GT(failures, 2);
  EXPECT_OK(use());
}
#endif

TEST_P(DeviceConformance, TooMuchMemoryIsRefusedWithTheMissingBytes) {
  EXPECT_THAT(device_->allocate(std::uint64_t{1} << 50), Is(StatusCode::resource_exhausted, HasSubstr("are missing")));
}

TEST_P(DeviceConformance, MemoryAndKeyAreTold) {
  const auto memory = device_->memory();
  ASSERT_OK(memory);
  EXPECT_GT(memory->free_bytes, 0u);
  EXPECT_LE(memory->free_bytes, memory->total_bytes);
  if (device_->kind() == "host")
    EXPECT_THAT(device_->key(), ::testing::EndsWith("-3"));
  else
    EXPECT_THAT(device_->key(), ::testing::MatchesRegex("GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"));
  EXPECT_EQ(device_->pci_bus_id().empty(), device_->host_addressable());
}

INSTANTIATE_TEST_SUITE_P(Device, DeviceConformance, ::testing::ValuesIn(kBackends),
                         [](const auto& backend) { return std::string(backend.param.name); });

}  // namespace
}  // namespace ckpt
