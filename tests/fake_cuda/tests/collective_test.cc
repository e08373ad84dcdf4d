// Operations of communicators: in stream order, after a poll, hanging until the abort.
#include <atomic>

#include "support/test_process.h"
#include "tests/nccl_fixture.h"

namespace ckpt::fake {
namespace {

class CollectiveTest : public NcclTest {
 protected:
  /// In place, 4 bytes a rank.
  static void all_gather(const Rank& rank) {
    const NcclResult result = ncclAllGather(rank.at(static_cast<std::size_t>(rank.rank) * 4), rank.at(0), 4, kNcclUint8, rank.comm, rank.stream);
    EXPECT_TRUE(result == NcclResult::success || result == NcclResult::in_progress) << ncclGetLastError(rank.comm);
  }
  static void broadcast(const Rank& rank, std::size_t offset, std::size_t bytes, int root) {
    const NcclResult result = ncclBroadcast(rank.at(offset), rank.at(offset), bytes, kNcclUint8, root, rank.comm, rank.stream);
    EXPECT_TRUE(result == NcclResult::success || result == NcclResult::in_progress) << ncclGetLastError(rank.comm);
  }
  static void fill_own(const Rank& rank, int round) {
    write(rank.address + static_cast<unsigned>(rank.rank) * 4u, "r" + std::to_string(rank.rank) + std::to_string(10 + round), rank.stream);
  }
  static bool is_done(const Rank& rank) {
    const CuEvent event = create_event();
    EXPECT_CUDA(cuEventRecord(event, rank.stream));
    for (int looks = 0; looks < 50 && cuEventQuery(event) == kCuNotReady; ++looks) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const bool done = cuEventQuery(event) == kCuSuccess;
    EXPECT_CUDA(cuEventDestroy_v2(event));
    return done;
  }
};

TEST_F(CollectiveTest, AllGathersFollowTheCopiesOfTheirStream) {
  as_ranks(3, [](const Rank& rank) {
    for (int round = 0; round < 30; ++round) {
      fill_own(rank, round);
      all_gather(rank);
      EXPECT_TRUE(becomes_ready(rank.comm));
      const std::string tail = std::to_string(10 + round);
      EXPECT_EQ(read(rank.address, 12, rank.stream), "r0" + tail + "r1" + tail + "r2" + tail);
    }
  });
}

TEST_F(CollectiveTest, GroupedBroadcastsOfUnequalParts) {
  as_ranks(3, [](const Rank& rank) {
    const std::vector<std::string> parts{"a", "", "ccccc"};
    const std::size_t offset = rank.rank == 2 ? 1 : 0;
    write(rank.address + offset, parts[static_cast<std::size_t>(rank.rank)], rank.stream);
    ASSERT_EQ(ncclGroupStart(), NcclResult::success);
    broadcast(rank, 0, 1, 0);
    broadcast(rank, 1, 0, 1);
    broadcast(rank, 1, 5, 2);
    const NcclResult ended = ncclGroupEnd();
    EXPECT_TRUE(ended == NcclResult::success || ended == NcclResult::in_progress);
    EXPECT_TRUE(becomes_ready(rank.comm));
    EXPECT_EQ(read(rank.address, 6, rank.stream), "accccc");
  });
}

#if !defined(__SANITIZE_THREAD__)  // which rightly calls it a race
TEST_F(CollectiveTest, WhatWasNotPolledIsNotOnTheStreamYet) {
  std::atomic<int> early = 0;
  for (int attempt = 0; attempt < 8; ++attempt) {
    as_ranks(2, [&](const Rank& rank) {
      fill_own(rank, 0);
      EXPECT_EQ(ncclAllGather(rank.at(static_cast<std::size_t>(rank.rank) * 4), rank.at(0), 4, kNcclUint8, rank.comm, rank.stream),
                NcclResult::in_progress);
      if (read(rank.address, 8, rank.stream) != "r010r110") ++early;
      EXPECT_TRUE(becomes_ready(rank.comm));
      EXPECT_EQ(read(rank.address, 8, rank.stream), "r010r110");
    });
  }
  EXPECT_GT(early, 0);
}
#endif

TEST_F(CollectiveTest, OneWhosePeerDoesNotComeHangsUntilTheAbort) {
  as_ranks(2, [](const Rank& rank) {
    if (rank.rank == 1) return;  // and aborts: nobody is told
    all_gather(rank);
    EXPECT_TRUE(becomes_ready(rank.comm));
    EXPECT_FALSE(is_done(rank));
    EXPECT_EQ(state_of(rank.comm), NcclResult::success);
  });  // which aborts, and then frees the memory: that would wait for ever before
}

TEST_F(CollectiveTest, OneWhosePeerWasKilledHangsUntilTheAbort) {
  const std::string id = new_id().bytes.data();
  testing::TestProcess peer({CKPT_FAKE_CUDA_PEER, "join", id, "1", "2"}, {"CKPT_FAKE_CUDA_FAIL=ncclAllGather:hang"});
  NcclUniqueId same{};
  id.copy(same.bytes.data(), same.bytes.size());
  const Rank rank{0, start(same, 0, 2), create_stream(), allocate(kBufferBytes)};
  ASSERT_TRUE(becomes_ready(rank.comm));
  peer.kill();
  static_cast<void>(peer.wait());
  all_gather(rank);
  EXPECT_TRUE(becomes_ready(rank.comm));
  EXPECT_FALSE(is_done(rank));
  EXPECT_EQ(ncclCommAbort(rank.comm), NcclResult::success);
  EXPECT_TRUE(is_done(rank));
}

TEST_F(CollectiveTest, AnErrorOfItsWorkIsPolledAndItHangsUntilTheAbort) {
  as_ranks(2, [](const Rank& rank) {
    if (rank.rank == 0) inject_errors("all_gather:6:1+");
    EXPECT_TRUE(becomes_ready(rank.comm));
    all_gather(rank);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (state_of(rank.comm) != NcclResult::remote_error && std::chrono::steady_clock::now() < end) static_cast<void>(is_done(rank));
    EXPECT_EQ(state_of(rank.comm), NcclResult::remote_error);
    EXPECT_FALSE(is_done(rank));
    EXPECT_EQ(ncclAllGather(rank.at(0), rank.at(0), 4, kNcclUint8, rank.comm, rank.stream), NcclResult::invalid_argument);
  });
}

TEST_F(CollectiveTest, RanksThatDoDifferentThingsAreFoundOut) {
  as_ranks(2, [](const Rank& rank) {
    if (rank.rank == 0)
      all_gather(rank);
    else
      broadcast(rank, 0, 4, 1);
    static_cast<void>(becomes_ready(rank.comm));
    EXPECT_FALSE(is_done(rank));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (state_of(rank.comm) != NcclResult::invalid_usage && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(state_of(rank.comm), NcclResult::invalid_usage);
  });
}

TEST_F(CollectiveTest, OperationsOfOneCommunicatorOnTwoStreamsAreInOrder) {
  as_ranks(2, [](const Rank& rank) {
    const CuStream second = create_stream();
    for (int round = 0; round < 20; ++round) {
      Rank on = rank;
      fill_own(rank, round);
      all_gather(rank);
      EXPECT_TRUE(becomes_ready(rank.comm));
      on.stream = second;
      all_gather(on);
      EXPECT_TRUE(becomes_ready(rank.comm));
      const std::string tail = std::to_string(10 + round);
      EXPECT_EQ(read(rank.address, 8, second), "r0" + tail + "r1" + tail);
    }
  });
}

TEST_F(CollectiveTest, HostMemoryIsNoBuffer) {
  as_ranks(1, [](const Rank& rank) {
    char host[8] = {};
    EXPECT_EQ(ncclAllGather(host, host, 4, kNcclUint8, rank.comm, rank.stream), NcclResult::invalid_argument);
    EXPECT_EQ(ncclAllGather(rank.at(0), rank.at(0), kBufferBytes + 1, kNcclUint8, rank.comm, rank.stream), NcclResult::invalid_argument);
    EXPECT_EQ(ncclBroadcast(rank.at(0), rank.at(0), 4, kNcclUint8, 1, rank.comm, rank.stream), NcclResult::invalid_argument);
  });
}

}  // namespace
}  // namespace ckpt::fake
