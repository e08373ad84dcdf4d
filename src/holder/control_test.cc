// Control socket and messages: what the front and its workers rely on.
#include <sys/mman.h>
#include <sys/stat.h>

#include "holder/control_messages.h"
#include "holder/control_socket.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

template <typename T>
T through(const FrontMessage& message) {
  const Result<FrontMessage> decoded = decode_front_message(encode(message));
  EXPECT_OK(decoded);
  EXPECT_TRUE(std::holds_alternative<T>(*decoded));
  return std::get<T>(*decoded);
}

TEST(ControlMessages, SurviveTheWire) {
  const Hello hello = through<Hello>(Hello{3, 8, 1u << 30, 1});
  EXPECT_EQ(hello.rank, 3u);
  EXPECT_EQ(hello.model_bytes, 1u << 30);
  EXPECT_EQ(hello.arena_in_place, 1);
  const StageUpdate update = through<StageUpdate>(StageUpdate{7, "ipc:///x", 1, 600'000'000'000, 1, 2});
  EXPECT_EQ(update.address, "ipc:///x");
  EXPECT_EQ(update.timeout_ns, 600'000'000'000);
  const Status reason = Status(StatusCode::cancelled, Scope::group, "why \xff").at_stage("fill").advise("try").at_rank(2);
  const AbortUpdate abort = through<AbortUpdate>(AbortUpdate{7, reason});
  EXPECT_EQ(abort.reason.code(), StatusCode::cancelled);
  EXPECT_EQ(abort.reason.scope(), Scope::group);
  EXPECT_EQ(abort.reason.stage(), "fill");
  EXPECT_EQ(abort.reason.advice(), "try");
  EXPECT_EQ(abort.reason.rank(), 2);
  EXPECT_THAT(abort.reason.message(), HasSubstr("why"));  // also where the text is no UTF-8
  through<Ping>(Ping{});
  const Result<WorkerMessage> outcome = decode_worker_message(encode(WorkerMessage(UpdateOutcome{7, {}, true, 10, 1.5, 0.5, 0.25})));
  ASSERT_OK(outcome);
  EXPECT_OK(std::get<UpdateOutcome>(*outcome).status);
  EXPECT_EQ(std::get<UpdateOutcome>(*outcome).apply_seconds, 0.5);
}

TEST(ControlMessages, RefuseWhatIsNoneOfOurs) {
  for (const char* text : {"", "[]", "[0]", "[99,null]", "[0,null]", "{}", "[-1,{}]", "[1,{\"update\":\"x\"}]"})
    EXPECT_THAT(decode_front_message(text), Is(StatusCode::internal)) << text;
}

TEST(ControlSocket, CarriesTextAndDescriptors) {
  auto sockets = ControlSocket::pair();
  ASSERT_OK(sockets);
  auto& [front, worker] = *sockets;
  const UniqueFd memory(::memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 1234), 0);
  const int fds[] = {memory.get(), memory.get()};
  ASSERT_OK(front.send("hello", fds));
  ASSERT_OK(front.send("again"));
  const AbortSignal abort;
  const Result<ControlMessage> first = worker.receive(Deadline::after(10s), abort);
  ASSERT_OK(first);
  EXPECT_EQ(first->text, "hello");
  ASSERT_EQ(first->fds.size(), 2u);
  struct stat info {};
  ASSERT_EQ(::fstat(first->fds[1].get(), &info), 0);
  EXPECT_EQ(info.st_size, 1234);
  EXPECT_EQ(worker.receive(Deadline::after(10s), abort)->text, "again");
  EXPECT_THAT(worker.receive(Deadline::after(1ms), abort), Is(StatusCode::deadline_exceeded));
}

TEST(ControlSocket, SeesTheEndOfTheOtherSideAfterItsLastWords) {
  auto sockets = ControlSocket::pair();
  ASSERT_OK(sockets);
  ASSERT_OK(sockets->second.send("last words"));
  sockets->second.close();
  const AbortSignal abort;
  EXPECT_EQ(sockets->first.receive(Deadline::after(10s), abort)->text, "last words");
  EXPECT_THAT(sockets->first.receive(Deadline::after(10s), abort), Is(StatusCode::unavailable));
  EXPECT_THAT(sockets->first.send("anyone?"), Is(StatusCode::unavailable));
}

TEST(ControlSocket, APeerThatDoesNotReadDoesNotBlockTheSender) {
  auto sockets = ControlSocket::pair();
  ASSERT_OK(sockets);
  Status status;
  for (int i = 0; i < 100'000 && status.ok(); ++i) status = sockets->first.send(std::string(1000, 'x'));
  EXPECT_THAT(status, Is(StatusCode::deadline_exceeded));
}

}  // namespace
}  // namespace ckpt
