#include "rendezvous/local_ranks.h"

#include <csignal>

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

std::vector<RankEnd> run(const std::string& script, std::uint32_t num_ranks) {
  LocalRanksOptions options;
  options.command = {"sh", "-c", script};
  options.num_local = options.num_ranks = num_ranks;
  options.store = {"127.0.0.1", 1};
  Result<LocalRanks> ranks = LocalRanks::start(options);
  EXPECT_OK(ranks);
  const AbortSignal never;
  return ranks->wait(Deadline::after(std::chrono::seconds(60)), std::chrono::milliseconds(10), never);
}

TEST(LocalRanks, AllThatEndWellAreOk) {
  const auto ends = run("exit 0", 3);
  EXPECT_EQ(ends.size(), 3u);
  EXPECT_OK(job_status(ends, 0));
  EXPECT_FALSE(first_failure(ends, 0).has_value());
}

TEST(LocalRanks, TheFirstFailureIsKeptApartFromThoseItBringsAbout) {
  const auto ends = run("[ $RANK = 1 ] && exit 7; exec sleep 1000", 3);
  EXPECT_EQ(ends[0].exit.signal, SIGTERM);
  const auto first = first_failure(ends, 10);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->rank, 11u);
  EXPECT_EQ(first->exit.code, 7);
  EXPECT_THAT(first->status, Is(StatusCode::remote_error, HasSubstr("rank 11: it failed first: its process exited with code 7")));
}

TEST(LocalRanks, WhatARankToldIsItsError) {
  const std::vector<RankEnd> ends{{{1, 0}, Status(StatusCode::data_corruption, Scope::operation, "broken shard").at_rank(0), true}};
  EXPECT_THAT(first_failure(ends, 0)->status, Is(StatusCode::data_corruption, HasSubstr("broken shard")));
  EXPECT_THAT(job_status(ends, 0), Is(StatusCode::data_corruption));
}

TEST(LocalRanks, AMissingProgramNamesTheRank) {
  LocalRanksOptions options;
  options.command = {"ckpt-no-such-program"};
  EXPECT_THAT(LocalRanks::start(options), Is(StatusCode::not_found, HasSubstr("start rank 0")));
}

}  // namespace
}  // namespace ckpt
