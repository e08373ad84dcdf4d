// A worker's session with scripted senders of pickles, and with our own sender that does not know what comes.
#include "receiver/worker_session.h"

#include <thread>

#include "base/bytes.h"
#include "channel/bucket_session.h"
#include "channel/pickle_writer.h"
#include "device/host/host_device.h"
#include "os/wait_fd.h"
#include "receiver/receiver.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;
using testing::TemporaryDirectory;

const std::string kCudaHandle(64, 'h');

/// As the reference's parameter server: one message after the other, whatever is answered.
class PickleSession : public ::testing::Test {
 protected:
  void SetUp() override {
    sender_ = ZmqSocket::open(ZmqSocket::Role::request_and_bind, address_, {}).value();
    session_ = std::make_unique<WorkerSession>(ReceiveOptions{address_});
  }
  /// The event of `message`.
  Result<WorkerEvent> say(const std::string& message) {
    const Status sent = sender_->send(message, soon(), never_, "message");
    return sent.ok() ? session_->next(soon(), never_) : sent;
  }
  std::string answered(std::string_view text) {
    EXPECT_OK(session_->answer(text, soon(), never_));
    return heard();
  }
  std::string heard() {
    const Result<std::string> answer = sender_->receive(1 << 20, soon(), never_, "answer");
    return answer.ok() ? *answer : answer.status().to_string();
  }
  /// What the sender hears although nothing is given out.
  std::string told() {
    for (const Deadline end = soon(); !end.passed();) {
      EXPECT_EQ(session_->next(Deadline::after(std::chrono::milliseconds(10)), never_).value(), WorkerEvent::none);
      const Result<std::string> answer = sender_->receive(1 << 20, Deadline::after(std::chrono::milliseconds(10)), never_, "answer");
      if (answer.ok()) return *answer;
    }
    return "nothing";
  }
  void open() {
    EXPECT_EQ(session_->next(Deadline::after(std::chrono::milliseconds(1)), never_).value(), WorkerEvent::none);
    ASSERT_OK(sender_->wait_for_peer(soon(), never_));
    ASSERT_EQ(say(pickle_handle(kCudaHandle, 4096)).value(), WorkerEvent::handle);
    EXPECT_EQ(answered(""), "");
  }

  TemporaryDirectory dir_;
  AbortSignal never_;
  ReceiveOptions quick_{"ipc://" + dir_ / "sender", std::chrono::seconds(1), std::chrono::seconds(10), std::chrono::seconds(30),
                        std::chrono::milliseconds(20)};
  const std::string address_ = "ipc://" + dir_ / "sender";
  std::unique_ptr<ZmqSocket> sender_;
  std::unique_ptr<WorkerSession> session_;
  const Parameter a_{"a", DType::F32, {2}, 8};
};

TEST_F(PickleSession, OfDialectTwoEndsWithASecondNone) {
  open();
  EXPECT_FALSE(session_->native());
  EXPECT_EQ(std::get<PickledHandle>(session_->handle()).storage_handle, kCudaHandle);
  const PlacedTensor placed[] = {{&a_, 256}};
  ASSERT_EQ(say(pickle_bucket(placed)).value(), WorkerEvent::bucket);
  EXPECT_EQ(session_->bucket().tensors[0].parameter, a_);
  EXPECT_THAT(session_->next(soon(), never_), Is(StatusCode::failed_precondition, HasSubstr("has not been answered")));
  EXPECT_EQ(answered(""), "");
  ASSERT_EQ(say(pickle_none()).value(), WorkerEvent::release);
  EXPECT_EQ(answered(""), "");
  EXPECT_EQ(session_->next(Deadline::after(std::chrono::milliseconds(1)), never_).value(), WorkerEvent::none);
  ASSERT_EQ(say(pickle_none()).value(), WorkerEvent::finish);
  EXPECT_EQ(answered(""), "");
  EXPECT_EQ(session_->next(soon(), never_).value(), WorkerEvent::end);
}

TEST_F(PickleSession, OfDialectOneEndsWhenTheSenderLeaves) {
  open();
  ASSERT_EQ(say(pickle_none()).value(), WorkerEvent::release);
  EXPECT_EQ(answered(""), "");
  sender_.reset();
  ASSERT_EQ(session_->next(soon(), never_).value(), WorkerEvent::finish);
  EXPECT_OK(session_->answer("", soon(), never_));
  EXPECT_EQ(session_->next(soon(), never_).value(), WorkerEvent::end);
}

TEST_F(PickleSession, OfDialectOneMayWaitForTheEngine) {
  session_ = std::make_unique<WorkerSession>(quick_);
  open();
  ASSERT_EQ(say(pickle_none()).value(), WorkerEvent::release);
  EXPECT_EQ(answered(""), "");
  ASSERT_EQ(session_->next(soon(), never_).value(), WorkerEvent::finish);
  EXPECT_OK(session_->answer("", soon(), never_));
  EXPECT_EQ(session_->next(soon(), never_).value(), WorkerEvent::end);
}

TEST_F(PickleSession, ASecondNoneThatComesLateIsAnswered) {
  session_ = std::make_unique<WorkerSession>(quick_);
  open();
  ASSERT_EQ(say(pickle_none()).value(), WorkerEvent::release);
  EXPECT_EQ(answered(""), "");
  ASSERT_EQ(session_->next(soon(), never_).value(), WorkerEvent::finish);
  ASSERT_OK(sender_->send(pickle_none(), soon(), never_, "second None"));
  ASSERT_OK(pause_for(std::chrono::milliseconds(50), never_));  // the hook
  EXPECT_EQ(answered("the hook failed"), "the hook failed");
  EXPECT_THAT(session_->next(soon(), never_), Is(StatusCode::remote_error, HasSubstr("the hook failed")));
}

TEST_F(PickleSession, AHookThatFailsAtItsEndIsAFailure) {
  open();
  ASSERT_EQ(say(pickle_none()).value(), WorkerEvent::release);
  EXPECT_EQ(answered(""), "");
  sender_.reset();
  ASSERT_EQ(session_->next(soon(), never_).value(), WorkerEvent::finish);
  EXPECT_OK(session_->answer("the hook failed", soon(), never_));
  EXPECT_THAT(session_->next(soon(), never_), Is(StatusCode::remote_error, HasSubstr("the hook failed")));
}

TEST_F(PickleSession, ThatLeavesBeforeItsReleaseIsGone) {
  open();
  sender_.reset();
  EXPECT_THAT(session_->next(soon(), never_), Is(StatusCode::unavailable));
}

TEST_F(PickleSession, AnExceptionEndsItWithItsText) {
  open();
  EXPECT_THAT(say(pickle_abort("Some workers failed")), Is(StatusCode::cancelled, HasSubstr("RuntimeError: Some workers failed")));
}

TEST_F(PickleSession, AFailureIsToldUntilTheSenderLetsGo) {
  open();
  ASSERT_EQ(say(pickle_bucket({})).value(), WorkerEvent::bucket);
  EXPECT_EQ(answered("ValueError: no"), "ValueError: no");
  for (const std::string& message : {pickle_bucket({}), pickle_none(), pickle_none()}) {  // a sender that does not look at its answers
    ASSERT_OK(sender_->send(message, soon(), never_, "message"));
    EXPECT_THAT(told(), HasSubstr("ValueError: no"));
  }
  EXPECT_THAT(say(pickle_abort("stop")), Is(StatusCode::remote_error, HasSubstr("ValueError: no")));
}

TEST_F(PickleSession, WhatDoesNotFitIsToldAndNotGivenOut) {
  open();
  const PlacedTensor outside[] = {{&a_, 4092}};
  ASSERT_OK(sender_->send(pickle_bucket(outside), soon(), never_, "message"));
  EXPECT_THAT(told(), HasSubstr("tensor a of 8 bytes at 4092 lies outside the buffer of 4096"));
  sender_.reset();
  EXPECT_THAT(session_->next(soon(), never_), Is(StatusCode::data_corruption, HasSubstr("lies outside")));
}

TEST_F(PickleSession, OurOwnEnginesTakeNativeMessagesOnly) {
  class NoSink final : public UpdateSink {
    Status apply(std::span<const ReceivedTensor> /*tensors*/) override { return Status::success(); }
    void released() override {}
    Status prepare() override { return Status::success(); }
  } sink;
  Status outcome;
  std::thread worker([&] { outcome = receive_update({address_}, sink, soon(), never_); });
  ASSERT_OK(sender_->wait_for_peer(soon(), never_));
  ASSERT_OK(sender_->send(pickle_handle(kCudaHandle, 4096), soon(), never_, "handle"));
  EXPECT_THAT(heard(), HasSubstr("this engine takes native messages only"));
  sender_.reset();
  worker.join();
  EXPECT_THAT(outcome, Is(StatusCode::unsupported));
}

TEST(WorkerSession, FindsTheSecondAddressOfASenderForBothKinds) {
  const TemporaryDirectory dir;
  const AbortSignal never;
  const auto device = make_host_device({0, 1}).value();
  const auto buffer = device->allocate(64 * KiB).value();
  SessionOptions options{dir / "sockets", dir / "journal", "HOST-x-0"};
  const auto sender = open_session(options, never).value();
  WorkerSession session({sender->address()});
  std::vector<WorkerEvent> events;
  std::thread worker([&] {
    while (events.empty() || events.back() != WorkerEvent::end) {
      const Result<WorkerEvent> event = session.next(soon(), never);
      ASSERT_OK(event);
      events.push_back(*event);
      if (*event == WorkerEvent::end) return;
      ASSERT_OK(session.answer("", soon(), never));
    }
  });
  ASSERT_OK(sender->connect(buffer->exported(), soon()));
  EXPECT_EQ(sender->dialect(), Dialect::native);
  ASSERT_OK(sender->offer(0, encode_bucket(Dialect::native, 0, {}, {}), soon()));
  ASSERT_OK(sender->release(soon()));
  ASSERT_OK(sender->finish(soon()));
  worker.join();
  EXPECT_TRUE(session.native());
  using enum WorkerEvent;
  EXPECT_EQ(events, (std::vector<WorkerEvent>{handle, bucket, release, finish, end}));
}

TEST(WorkerSession, WaitsForAnAddressThatIsMadeAnew) {
  const TemporaryDirectory dir;
  const AbortSignal never;
  SessionOptions options{dir / "sockets", dir / "journal", "GPU-x"};
  const auto sender = open_session(options, never).value();
  for (int again = 0; again < 2; ++again) {
    WorkerSession session({sender->address()});
    std::thread worker([&] {
      for (WorkerEvent event = WorkerEvent::none; event != WorkerEvent::end;) {
        event = session.next(soon(), never).value();
        if (event == WorkerEvent::end) return;
        ASSERT_OK(session.answer("", soon(), never));
      }
    });
    ASSERT_OK(sender->connect({kCudaHandle, -1, 4096}, soon()));
    ASSERT_OK(sender->release(soon()));
    ASSERT_OK(sender->finish(soon()));
    worker.join();
    ASSERT_OK(sender->reopen());
  }
}

TEST(WorkerSession, NobodyThereIsSeenSoon) {
  const TemporaryDirectory dir;
  const AbortSignal never;
  WorkerSession session({"ipc://" + dir / "nobody"});
  EXPECT_EQ(session.next(Deadline::after(std::chrono::milliseconds(1)), never).value(), WorkerEvent::none);
  EXPECT_THAT(session.next(soon(), never), Is(StatusCode::unavailable, HasSubstr("the process that listened there has gone")));
}

}  // namespace
}  // namespace ckpt
