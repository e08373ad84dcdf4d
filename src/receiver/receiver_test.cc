// Sender's session and receiver against each other, over real sockets and shared memory.
#define XXH_INLINE_ALL
#include "receiver/receiver.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "channel/bucket_session.h"
#include "device/host/host_device.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;
using testing::TemporaryDirectory;

class RecordingSink final : public UpdateSink {
 public:
  Status apply(std::span<const ReceivedTensor> tensors) override {
    for (const ReceivedTensor& tensor : tensors)
      received[tensor.parameter.name] = std::string(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    return apply_status;
  }
  void released() override { was_released = true; }
  Status prepare() override { return prepare_status; }

  std::map<std::string, std::string> received;
  bool was_released = false;
  Status apply_status;
  Status prepare_status;
};

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    device_ = make_host_device({0, 1}).value();
    buffer_ = device_->allocate(64 * KiB).value();
    for (std::size_t i = 0; i < 64 * KiB; ++i) buffer_->data()[i] = static_cast<std::byte>(i * 7 / 3);
    options_ = {
        dir_ / "sockets",        dir_ / "journal", "HOST-x-0", Dialect::native, std::chrono::milliseconds(200), std::chrono::milliseconds(1000),
        std::chrono::seconds(20)};
    session_ = open_session(options_, abort_).value();
  }
  void start_worker() {
    worker_ = std::thread([this] {
      outcome_ = receive_update({session_->address(), std::chrono::milliseconds(200), std::chrono::milliseconds(1000)}, sink_, soon(), worker_abort_);
    });
  }
  Status join_worker() {
    worker_.join();
    return outcome_;
  }
  std::string text_at(std::uint64_t offset, std::uint64_t bytes) const { return {reinterpret_cast<const char*>(buffer_->data()) + offset, bytes}; }
  std::string bucket_of(std::uint32_t index, std::span<const UnitCheck> checks = {}) const {
    const PlacedTensor placed[] = {{&a_, 0}, {&b_, 4096}};
    return encode_bucket(Dialect::native, index, placed, checks);
  }

  TemporaryDirectory dir_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceBuffer> buffer_;
  SessionOptions options_;
  AbortSignal abort_;
  AbortSignal worker_abort_;
  std::unique_ptr<BucketSession> session_;
  RecordingSink sink_;
  std::thread worker_;
  Status outcome_;
  Parameter a_{"a", DType::BF16, {10, 10}, 200};
  Parameter b_{"b", DType::U8, {1000}, 1000};
};

TEST_F(SessionTest, BucketsArriveAndBothSidesEndWell) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  ASSERT_OK(session_->offer(0, bucket_of(0), soon()));
  ASSERT_OK(session_->offer(1, bucket_of(1), soon()));
  ASSERT_OK(session_->release(soon()));
  EXPECT_TRUE(sink_.was_released);
  ASSERT_OK(session_->finish(soon()));
  session_.reset();
  EXPECT_OK(join_worker());
  EXPECT_EQ(sink_.received["a"], text_at(0, 200));
  EXPECT_EQ(sink_.received["b"], text_at(4096, 1000));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "journal"));
  for (const auto& left : std::filesystem::directory_iterator(dir_ / "sockets")) ADD_FAILURE() << left.path() << " was left";
}

TEST_F(SessionTest, DigestsThatDifferAbortAndNameTheRank) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  const UnitCheck good{{{0, 200}, {4096, 1000}}, XXH3_64bits((text_at(0, 200) + text_at(4096, 1000)).data(), 1200), 3};
  ASSERT_OK(session_->offer(0, bucket_of(0, std::span(&good, 1)), soon()));
  UnitCheck wrong = good;
  ++wrong.xxh3;
  EXPECT_THAT(session_->offer(1, bucket_of(1, std::span(&wrong, 1)), soon()),
              Is(StatusCode::remote_error, HasSubstr("the bytes of rank 3 have digest")));
  session_.reset();
  EXPECT_THAT(join_worker(), Is(StatusCode::data_corruption));
}

TEST_F(SessionTest, FailureInTheLastBucketIsReported) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  ASSERT_OK(session_->offer(0, bucket_of(0), soon()));
  sink_.apply_status = Status(StatusCode::resource_exhausted, Scope::operation, "no room");
  EXPECT_THAT(session_->offer(1, bucket_of(1), soon()),
              Is(StatusCode::remote_error, HasSubstr("bucket 1: the worker answered: resource_exhausted: no room")));
  EXPECT_THAT(session_->release(soon()), Is(StatusCode::remote_error, HasSubstr("bucket 1")));
  session_.reset();
  EXPECT_THAT(join_worker(), Is(StatusCode::resource_exhausted));
}

TEST_F(SessionTest, AWorkerThatIsNotPreparedSaysSoAtRelease) {
  start_worker();
  sink_.prepare_status = Status(StatusCode::failed_precondition, Scope::operation, "tensor c did not come");
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  ASSERT_OK(session_->offer(0, bucket_of(0), soon()));
  EXPECT_THAT(session_->release(soon()), Is(StatusCode::remote_error, HasSubstr("tensor c did not come")));
  session_.reset();
  EXPECT_THAT(join_worker(), Is(StatusCode::failed_precondition));
}

TEST_F(SessionTest, TensorsOutsideTheBufferAreRefused) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  const PlacedTensor outside[] = {{&b_, 64 * KiB - 256}};
  EXPECT_THAT(session_->offer(0, encode_bucket(Dialect::native, 0, outside, {}), soon()),
              Is(StatusCode::remote_error, HasSubstr("tensor b of 1000 bytes at 65280 lies outside the buffer")));
  session_.reset();
  EXPECT_THAT(join_worker(), Is(StatusCode::data_corruption));
}

TEST_F(SessionTest, AnAbortFreesTheWorkerWithItsReason) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  session_->abort({StatusCode::unavailable, Scope::group, "rank 2 is gone"});
  EXPECT_THAT(session_->offer(0, bucket_of(0), soon()), Is(StatusCode::unavailable, HasSubstr("rank 2 is gone")));
  session_.reset();
  EXPECT_THAT(join_worker(), Is(StatusCode::cancelled, HasSubstr("rank 2 is gone")));
}

TEST_F(SessionTest, BeforeTheGoAheadAnAbortStillCancels) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  ASSERT_OK(session_->offer(0, bucket_of(0), soon()));
  ASSERT_OK(session_->release(soon()));
  session_->abort({StatusCode::unavailable, Scope::group, "another engine failed"});
  session_.reset();
  EXPECT_THAT(join_worker(), Is(StatusCode::cancelled, HasSubstr("another engine failed")));
}

TEST_F(SessionTest, AWorkerThatNeverComesEndsAtTheDeadline) {
  EXPECT_THAT(session_->connect(buffer_->exported(), Deadline::after(std::chrono::milliseconds(50))),
              Is(StatusCode::deadline_exceeded, HasSubstr("waiting for the other side to connect")));
}

TEST_F(SessionTest, TheSignalOfTheUpdateEndsTheWaitForAWorker) {
  std::thread later([this] { abort_.trigger({StatusCode::failed_precondition, Scope::peer, "the engine answered 401"}); });
  EXPECT_THAT(session_->connect(buffer_->exported(), soon()), Is(StatusCode::failed_precondition, HasSubstr("401")));
  later.join();
}

TEST_F(SessionTest, TheGoAheadCountsWhenTheSenderDiesBeforeTheAnswer) {
  session_.reset();  // the sender is a process of its own here
  int fds[2] = {-1, -1};
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const pid_t sender = ::fork();
  if (sender == 0) {
    const auto session = open_session(options_, abort_).value();
    static_cast<void>(!::write(fds[1], session->address().data(), session->address().size()));
    if (session->connect(buffer_->exported(), soon()).ok() && session->release(soon()).ok())
      static_cast<void>(session->finish(Deadline::after(std::chrono::milliseconds(300))));
    ::kill(::getpid(), SIGKILL);
  }
  char address[256] = {};
  ASSERT_GT(::read(fds[0], address, sizeof address - 1), 0);
  ASSERT_OK(set_fault_rules("receiver.before_finish:1:sleep=1"));  // it answers when the sender is dead
  EXPECT_OK(receive_update({address}, sink_, soon(), worker_abort_));
  ASSERT_OK(set_fault_rules(""));
  ASSERT_EQ(::waitpid(sender, nullptr, 0), sender);
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST_F(SessionTest, AWorkerThatLeavesIsSeenAtOnce) {
  start_worker();
  ASSERT_OK(session_->connect(buffer_->exported(), soon()));
  worker_abort_.trigger({StatusCode::cancelled, Scope::operation, "the engine stops"});
  EXPECT_THAT(join_worker(), Is(StatusCode::cancelled));
  EXPECT_THAT(session_->offer(0, bucket_of(0), soon()), Is(StatusCode::unavailable, HasSubstr("disconnected")));
}

}  // namespace
}  // namespace ckpt
