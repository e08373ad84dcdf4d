// Groups over a real store and real sockets; the ranks are threads here, and processes in tests/multiproc.
#include <thread>

#include "os/socket.h"
#include "rendezvous/group.h"
#include "rendezvous/store_server.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using testing::soon;

class StoreGroupTest : public ::testing::Test {
 protected:
  void start(std::uint32_t num_ranks) {
    num_ranks_ = num_ranks;
    server_ =
        StoreServer::start({"127.0.0.1", 0, num_ranks, "secret", std::chrono::milliseconds(100), std::chrono::milliseconds(1000)}, soon()).value();
  }
  GroupOptions options(std::uint32_t rank) const {
    return {server_->address(), rank, num_ranks_, "secret", std::chrono::milliseconds(100), std::chrono::milliseconds(1000)};
  }

  /// Runs `work` as every rank, each on its thread, and returns their statuses.
  std::vector<Status> as_ranks(const std::function<Status(Group&)>& work) {
    std::vector<Status> outcomes(num_ranks_);
    std::vector<std::thread> threads;
    for (std::uint32_t rank = 0; rank < num_ranks_; ++rank)
      threads.emplace_back([&, rank] {
        const AbortSignal never;
        auto group = join_group(options(rank), soon(), never);
        outcomes[rank] = group.ok() ? work(**group) : group.status();
      });
    for (std::thread& thread : threads) thread.join();
    return outcomes;
  }
  static Status settle(Group& group) {
    while (group.failed().check().ok()) std::this_thread::yield();
    return group.failed().check();
  }

  std::uint32_t num_ranks_ = 0;
  std::unique_ptr<StoreServer> server_;
};

TEST_F(StoreGroupTest, EveryRankGetsEveryPart) {
  start(4);
  for (const Status& status : as_ranks([](Group& group) -> Status {
         for (int round = 0; round < 20; ++round) {
           CKPT_ASSIGN_OR_RETURN(
               const auto all, group.all_gather("parts", to_bytes(std::string(group.rank() * 1000, 'a' + static_cast<char>(group.rank()))), soon()));
           for (std::uint32_t r = 0; r < all.size(); ++r)
             if (all[r].size() != r * 1000) return {StatusCode::internal, Scope::operation, "rank {} sent {} bytes", r, all[r].size()};
         }
         CKPT_RETURN_IF_ERROR(group.barrier("end", soon()));
         return group.leave(soon());
       }))
    EXPECT_OK(status);
}

TEST_F(StoreGroupTest, AllAgreeOnTheErrorOfTheLowestRank) {
  start(3);
  for (const Status& status : as_ranks([](Group& group) -> Status {
         const Status mine =
             group.rank() == 0
                 ? Status::success()
                 : Status(StatusCode::data_corruption, Scope::operation, "shard {} is broken", group.rank()).at_stage("load").advise("fix it");
         const Status agreed = group.agree("load", mine, soon());
         CKPT_RETURN_IF_ERROR(group.agree("next", Status::success(), soon()));
         return agreed;
       })) {
    EXPECT_THAT(status, Is(StatusCode::data_corruption, HasSubstr("rank 1, load: shard 1 is broken (fix it)")));
  }
}

TEST_F(StoreGroupTest, TheDeathOfARankIsTheSameErrorForAllOthers) {
  start(3);
  const auto outcomes = as_ranks([](Group& group) -> Status {
    CKPT_RETURN_IF_ERROR(group.barrier("start", soon()));
    if (group.rank() == 1) return Status::success();  // its connection ends with the group object, without leave()
    return group.barrier("never", soon());
  });
  for (const std::uint32_t rank : {0u, 2u})
    EXPECT_THAT(outcomes[rank], Is(StatusCode::unavailable, HasSubstr("rank 1: its connection to the store ended")));
}

TEST_F(StoreGroupTest, AnAbortReachesEveryRank) {
  start(3);
  for (const Status& status : as_ranks([](Group& group) -> Status {
         CKPT_RETURN_IF_ERROR(group.barrier("start", soon()));
         if (group.rank() == 2) group.abort(Status(StatusCode::remote_error, Scope::peer, "out of memory").at_stage("hand-over"));
         return settle(group);
       }))
    EXPECT_THAT(status, Is(StatusCode::remote_error, HasSubstr("rank 2, hand-over: out of memory")));
}

TEST_F(StoreGroupTest, AfterAFailureANewEpochWorks) {
  start(2);
  for (const Status& status : as_ranks([](Group& group) -> Status {
         const std::uint64_t first = group.epoch();
         CKPT_RETURN_IF_ERROR(group.barrier("start", soon()));
         if (group.rank() == 0) group.abort(Status(StatusCode::cancelled, Scope::operation, "again"));
         static_cast<void>(settle(group));
         if (group.barrier("too late", soon()).ok()) return {StatusCode::internal, Scope::operation, "a failed epoch still works"};
         CKPT_RETURN_IF_ERROR(group.renew(soon(), AbortSignal()));
         if (group.epoch() <= first) return {StatusCode::internal, Scope::operation, "the epoch did not grow"};
         return group.barrier("works", soon());
       }))
    EXPECT_OK(status);
}

TEST_F(StoreGroupTest, ARankThatDoesNotComeIsNamedAtTheDeadline) {
  start(3);
  const auto outcomes = as_ranks([](Group& group) -> Status {
    CKPT_RETURN_IF_ERROR(group.barrier("start", soon()));
    if (group.rank() == 1) return settle(group);
    return group.barrier("metas", Deadline::after(std::chrono::milliseconds(100)));
  });
  for (const Status& status : outcomes) EXPECT_THAT(status, Is(StatusCode::deadline_exceeded, HasSubstr("rank 1: metas: rank 1 of 3 did not come")));
}

TEST_F(StoreGroupTest, AWrongTokenAndATakenRankAreRefused) {
  start(2);
  const AbortSignal never;
  GroupOptions wrong = options(0);
  wrong.token = "guess";
  EXPECT_THAT(join_group(wrong, soon(), never), Is(StatusCode::failed_precondition, HasSubstr("token is wrong")));
  std::thread first([this] {
    const AbortSignal no_abort;
    EXPECT_THAT(join_group(options(0), Deadline::after(std::chrono::milliseconds(400)), no_abort),
                Is(StatusCode::deadline_exceeded, HasSubstr("rank 1 of 2 did not come")));
  });
  std::this_thread::yield();
  first.join();
  GroupOptions beyond = options(0);
  beyond.rank = 7;
  EXPECT_THAT(join_group(beyond, soon(), never), Is(StatusCode::failed_precondition, HasSubstr("the store expects 2 ranks")));
}

TEST_F(StoreGroupTest, TheEndOfTheStoreEndsEveryWait) {
  start(2);
  const auto outcomes = as_ranks([this](Group& group) -> Status {
    CKPT_RETURN_IF_ERROR(group.barrier("start", soon()));
    if (group.rank() == 1) {
      server_.reset();
      return settle(group);
    }
    return group.barrier("never", soon());
  });
  for (const Status& status : outcomes) EXPECT_THAT(status, Is(StatusCode::unavailable, HasSubstr("store at 127.0.0.1")));
}

TEST_F(StoreGroupTest, NobodyListensIsAnErrorAtTheDeadline) {
  const AbortSignal never;
  EXPECT_THAT(join_group({{"127.0.0.1", 1}, 0, 1, "", std::chrono::seconds(1), std::chrono::seconds(1)},
                         Deadline::after(std::chrono::milliseconds(120)), never),
              Is(StatusCode::deadline_exceeded, HasSubstr("nobody listens there")));
}

TEST(SolitaryGroup, NeedsNoStore) {
  const auto group = solitary_group();
  EXPECT_EQ(group->all_gather("x", to_bytes("me"), soon()).value().size(), 1u);
  group->abort(Status(StatusCode::cancelled, Scope::operation, "stop"));
  EXPECT_THAT(group->barrier("x", soon()), Is(StatusCode::cancelled));
  ASSERT_OK(group->renew(soon(), AbortSignal()));
  EXPECT_OK(group->barrier("x", soon()));
}

}  // namespace
}  // namespace ckpt
