// The group's state machine, without sockets or time: requests in, messages out.
#include "rendezvous/membership.h"

#include "rendezvous/silence.h"
#include "rendezvous/store_keys.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;

class MembershipTest : public ::testing::Test {
 protected:
  /// Rank r sits on connection r + 1.
  std::vector<Outgoing> request(ConnectionId from, StoreMessage message) {
    message.timeout_ns = 1'000'000'000;
    members_.handle(from, message, now_, out_);
    return out_.take();
  }
  std::vector<Outgoing> join(std::uint32_t rank, ConnectionId from, std::uint64_t epoch = 0) {
    return request(from, {.type = MessageType::join, .rank = rank, .id = rank + 10, .epoch = epoch, .number = 3});
  }
  void all_join(std::uint64_t epoch = 0) {
    for (std::uint32_t rank = 0; rank < 3; ++rank) static_cast<void>(join(rank, rank + 1, epoch));
  }
  std::vector<Outgoing> gather(std::uint32_t rank, std::uint64_t epoch, const std::string& what = "x") {
    return request(rank + 1, {.type = MessageType::gather, .id = rank + 20, .epoch = epoch, .key = what});
  }
  static Status told(const std::vector<Outgoing>& messages) {
    return messages.empty() ? Status::success() : decode_status(messages.front().message.bytes());
  }
  Membership members_{3};
  Outbox out_;
  TimePoint now_{1h};
};

TEST_F(MembershipTest, TheEpochStartsWhenAllHaveJoined) {
  EXPECT_TRUE(join(0, 1).empty());
  EXPECT_TRUE(join(1, 2).empty());
  const auto messages = join(2, 3);
  ASSERT_EQ(messages.size(), 3u);
  for (const Outgoing& outgoing : messages) {
    EXPECT_EQ(outgoing.message.type, MessageType::joined);
    EXPECT_EQ(outgoing.message.epoch, 1u);
  }
}

TEST_F(MembershipTest, OldEpochsAreFenced) {
  all_join();
  EXPECT_THAT(told(gather(0, 7)), Is(StatusCode::stale_epoch, HasSubstr("epoch 7, the group is at 1")));
  static_cast<void>(request(1, {.type = MessageType::abort,
                                .epoch = 1,
                                .value = std::make_shared<const Bytes>(encode_status(Status(StatusCode::cancelled, Scope::group, "enough")))}));
  all_join(1);
  EXPECT_EQ(members_.epoch(), 2u);
  EXPECT_THAT(told(gather(0, 1)), Is(StatusCode::stale_epoch, HasSubstr("epoch 1, the group is at 2")));
  EXPECT_TRUE(request(2, {.type = MessageType::abort, .epoch = 1}).front().message.type == MessageType::refused);
}

TEST_F(MembershipTest, TheFirstFailureOfAnEpochStays) {
  all_join();
  members_.disconnected(2, Status(StatusCode::unavailable, Scope::group, "gone"), out_);
  const auto messages = out_.take();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].to, kEveryone);
  EXPECT_THAT(told(messages), Is(StatusCode::unavailable, HasSubstr("rank 1: gone")));
  members_.disconnected(3, Status(StatusCode::unavailable, Scope::group, "gone"), out_);
  EXPECT_TRUE(out_.empty());
  EXPECT_THAT(told(gather(0, 1)), Is(StatusCode::unavailable, HasSubstr("rank 1: gone")));
}

TEST_F(MembershipTest, AStepThatIsLateNamesWhoIsMissing) {
  all_join();
  static_cast<void>(gather(1, 1));
  EXPECT_EQ(members_.next_deadline(), now_ + 1s);
  members_.expire(now_ + 999ms, out_);
  EXPECT_TRUE(out_.empty());
  members_.expire(now_ + 1s, out_);
  EXPECT_THAT(told(out_.take()), Is(StatusCode::deadline_exceeded, HasSubstr("x: ranks 0 and 2 of 3 did not come within 1.00 s")));
  EXPECT_EQ(members_.next_deadline(), std::nullopt);
}

TEST_F(MembershipTest, ADeathWhileOthersJoinEndsTheirWait) {
  static_cast<void>(join(0, 1));
  static_cast<void>(join(1, 2));
  members_.disconnected(2, Status(StatusCode::unavailable, Scope::group, "gone"), out_);
  const auto messages = out_.take();
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].to, 1u);
  EXPECT_THAT(told(messages), Is(StatusCode::unavailable, HasSubstr("rank 1: gone")));
  all_join();  // and another attempt works
  EXPECT_EQ(members_.epoch(), 1u);
}

TEST_F(MembershipTest, LeavingIsNoDeathAndEndsStepsThatNeedTheRank) {
  all_join();
  static_cast<void>(gather(0, 1));
  const auto messages = request(2, {.type = MessageType::leave, .epoch = 1});
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].message.type, MessageType::reply);
  EXPECT_THAT(decode_status(messages[1].message.bytes()), Is(StatusCode::unavailable, HasSubstr("rank 1: x: this rank has left")));
  for (const ConnectionId connection : {1u, 3u}) static_cast<void>(request(connection, {.type = MessageType::leave, .epoch = 1}));
  EXPECT_TRUE(members_.empty());
}

TEST_F(MembershipTest, StrangersAreRefused) {
  EXPECT_THAT(told(gather(0, 0)), Is(StatusCode::failed_precondition, HasSubstr("has not joined")));
  EXPECT_THAT(told(request(1, {.type = MessageType::join, .rank = 3, .number = 3})), Is(StatusCode::failed_precondition, HasSubstr("rank 3 of 3")));
  static_cast<void>(join(0, 1));
  EXPECT_THAT(told(join(0, 9)), Is(StatusCode::failed_precondition, HasSubstr("another process is this rank")));
  EXPECT_THAT(told(join(1, 1)), Is(StatusCode::failed_precondition, HasSubstr("has joined already")));
}

TEST(ListRanks, ReadsAsASentence) {
  EXPECT_EQ(list_ranks({3}), "rank 3");
  EXPECT_EQ(list_ranks({1, 3}), "ranks 1 and 3");
  EXPECT_EQ(list_ranks({0, 1, 7}), "ranks 0, 1 and 7");
}

TEST(OwnPresence, ForgivesSilenceAfterAnAbsence) {
  OwnPresence presence(10s, TimePoint{0s});
  EXPECT_FALSE(presence.was_away(TimePoint{1s}));
  EXPECT_FALSE(presence.was_away(TimePoint{6s}));
  EXPECT_TRUE(presence.was_away(TimePoint{12s}));
  EXPECT_FALSE(presence.was_away(TimePoint{13s}));
}

TEST(DueTime, Saturates) {
  EXPECT_EQ(due_time(TimePoint{1h}, UINT64_MAX), TimePoint::max());
  EXPECT_EQ(due_time(TimePoint{1h}, 5), TimePoint{1h} + 5ns);
}

}  // namespace
}  // namespace ckpt
