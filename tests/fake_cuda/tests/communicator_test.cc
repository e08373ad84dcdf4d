// Communicators: made without blocking, polled, aborted.
#include "shared_object.h"
#include "support/test_process.h"
#include "tests/nccl_fixture.h"

namespace ckpt::fake {
namespace {

using CommunicatorTest = NcclTest;

TEST_F(CommunicatorTest, AConfigThatIsNoneIsRefused) {
  NcclComm comm = nullptr;
  const NcclUniqueId id = new_id();
  NcclConfig config;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 0, &config), NcclResult::invalid_usage);
  EXPECT_STREQ(ncclGetLastError(nullptr), "the software GPU has non-blocking communicators only");
  config = non_blocking();
  config.magic = 1;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 0, &config), NcclResult::invalid_argument);
  config = non_blocking();
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 2, &config), NcclResult::invalid_argument);
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, NcclUniqueId{}, 0, &config), NcclResult::invalid_argument);
  ASSERT_CUDA(cuCtxSetCurrent(nullptr));
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 0, &config), NcclResult::unhandled_cuda_error);
  EXPECT_EQ(comm, nullptr);
}

TEST_F(CommunicatorTest, IsInProgressUntilAllRanksAreThere) {
  const NcclUniqueId id = new_id();
  const NcclComm first = start(id, 0, 2);
  EXPECT_EQ(state_of(first), NcclResult::in_progress);
  EXPECT_EQ(ncclAllGather(nullptr, nullptr, 0, kNcclUint8, first, nullptr), NcclResult::invalid_argument);
  const NcclComm second = start(id, 1, 2);
  EXPECT_TRUE(becomes_ready(first));
  EXPECT_TRUE(becomes_ready(second));
  EXPECT_EQ(ncclCommAbort(first), NcclResult::success);
  EXPECT_EQ(ncclCommAbort(first), NcclResult::invalid_argument) << "it is gone";
  EXPECT_EQ(ncclCommAbort(second), NcclResult::success);
}

TEST_F(CommunicatorTest, WhoWaitsForARankThatNeverComesIsFreedByAbort) {
  const NcclComm alone = start(new_id(), 0, 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(state_of(alone), NcclResult::in_progress);
  EXPECT_EQ(ncclCommAbort(alone), NcclResult::success);
}

TEST_F(CommunicatorTest, ARankIsThereOnce) {
  const NcclUniqueId id = new_id();
  const NcclComm first = start(id, 0, 3);
  while (bytes_of_objects(id.bytes.data()) == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const NcclComm again = start(id, 0, 3);
  EXPECT_FALSE(becomes_ready(again));
  EXPECT_EQ(state_of(again), NcclResult::invalid_usage);
  EXPECT_STREQ(ncclGetLastError(again), "rank 0 is there twice");
  EXPECT_EQ(ncclCommAbort(first), NcclResult::success);
  EXPECT_EQ(ncclCommAbort(again), NcclResult::success);
}

TEST_F(CommunicatorTest, NothingIsLeftOfItInSharedMemory) {
  const NcclUniqueId id = new_id();
  const NcclComm alone = start(id, 0, 2);
  ASSERT_EQ(ncclCommAbort(alone), NcclResult::success);
  EXPECT_EQ(bytes_of_objects(id.bytes.data()), 0u);
  as_ranks(2, [&](const Rank&) {});
  EXPECT_EQ(bytes_of_objects(kMeetingPrefix + std::to_string(::getpid())), 0u);
}

TEST_F(CommunicatorTest, RanksAreProcesses) {
  const std::string id = new_id().bytes.data();
  std::vector<std::unique_ptr<testing::TestProcess>> ranks;
  for (int rank = 0; rank < 3; ++rank)
    ranks.push_back(std::make_unique<testing::TestProcess>(std::vector<std::string>{CKPT_FAKE_CUDA_PEER, "join", id, std::to_string(rank), "3"}));
  for (auto& rank : ranks) EXPECT_EQ(rank->read_line(), "r0..r1..r2..");
  for (auto& rank : ranks) EXPECT_TRUE(rank->wait().ok());
}

TEST_F(CommunicatorTest, AProblemInTheInitialisationIsPolled) {
  inject_errors("init:2:1");
  const NcclComm comm = start(new_id(), 0, 2);
  EXPECT_FALSE(becomes_ready(comm));
  EXPECT_EQ(state_of(comm), NcclResult::system_error);
  EXPECT_EQ(ncclCommAbort(comm), NcclResult::success);
  inject_errors("ncclCommInitRankConfig:3:1");
  NcclComm none = nullptr;
  NcclConfig config = non_blocking();
  EXPECT_EQ(ncclCommInitRankConfig(&none, 2, new_id(), 0, &config), NcclResult::internal_error);
}

}  // namespace
}  // namespace ckpt::fake
