// What a group promises when its processes are killed and stopped, the store's among them. Ranks and store are exec'd: see rank_program.cc.
#include <memory>

#include "support/test_process.h"

namespace ckpt::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Ranks : public ::testing::Test {
 protected:
  void SetUp() override { before_ = own_children(); }
  void TearDown() override {
    ranks_.clear();
    store_.reset();
    EXPECT_EQ(own_children(), before_);
  }
  void start_store(std::uint32_t num_ranks) {
    num_ranks_ = num_ranks;
    store_ = std::make_unique<TestProcess>(std::vector<std::string>{CKPT_RANK_PROGRAM, "store", std::to_string(num_ranks)},
                                           std::vector<std::string>{"CKPT_STORE_TOKEN=secret"});
    port_ = store_->read_line().value_or("port 0").substr(5);
  }
  std::unique_ptr<TestProcess> start_rank(std::uint32_t rank, const std::vector<std::string>& steps, const std::string& token = "secret") const {
    std::vector<std::string> command{CKPT_RANK_PROGRAM, "rank", port_, std::to_string(rank), std::to_string(num_ranks_)};
    command.insert(command.end(), steps.begin(), steps.end());
    return std::make_unique<TestProcess>(std::move(command), std::vector<std::string>{"CKPT_STORE_TOKEN=" + token});
  }
  void start(std::uint32_t num_ranks, const std::vector<std::string>& steps) {
    start_store(num_ranks);
    for (std::uint32_t rank = 0; rank < num_ranks; ++rank) ranks_.push_back(start_rank(rank, steps));
  }
  void expect_line(std::uint32_t rank, const ::testing::Matcher<std::string>& line) {
    EXPECT_THAT(ranks_[rank]->read_line().value_or("the end of its output"), line) << "rank " << rank;
  }
  void expect_lines(const std::string& line) {
    for (std::uint32_t rank = 0; rank < num_ranks_; ++rank) expect_line(rank, line);
  }
  /// The next line of all but `lost`: the same text on each.
  std::string same_line_of_survivors(std::uint32_t lost) {
    std::string first;
    for (std::uint32_t rank = 0; rank < num_ranks_; ++rank) {
      if (rank == lost) continue;
      const std::string line = ranks_[rank]->read_line().value_or("the end of its output");
      if (first.empty()) first = line;
      EXPECT_EQ(line, first) << "rank " << rank;
    }
    return first;
  }

  std::vector<pid_t> before_;
  std::unique_ptr<TestProcess> store_;
  std::vector<std::unique_ptr<TestProcess>> ranks_;
  std::uint32_t num_ranks_ = 0;
  std::string port_;
};

class RanksOfN : public Ranks, public ::testing::WithParamInterface<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Number, RanksOfN, ::testing::Values(1u, 2u, 4u, 8u));

TEST_P(RanksOfN, GatherAgreeAndLeave) {
  start(GetParam(), {"gather=0", "gather=100000", "agree", "disagree", "barrier", "leave"});
  for (const char* line :
       {"join ok", "gather=0 ok", "gather=100000 ok", "agree ok", "disagree data_corruption: rank 0, load: broken", "barrier ok", "leave ok"})
    expect_lines(line);
  for (const auto& rank : ranks_) EXPECT_TRUE(rank->wait().ok());
}

TEST_F(Ranks, AKilledRankIsTheSameErrorForAllOthers) {
  start_store(4);
  for (std::uint32_t rank = 0; rank < 4; ++rank)
    ranks_.push_back(
        start_rank(rank, rank == 2 ? std::vector<std::string>{"barrier", "hang"} : std::vector<std::string>{"barrier", "barrier", "failed"}));
  expect_lines("join ok");
  expect_lines("barrier ok");
  ranks_[2]->kill();
  EXPECT_EQ(same_line_of_survivors(2), "barrier unavailable: rank 2: its connection to the store ended: the process is gone");
  EXPECT_EQ(same_line_of_survivors(2), "failed unavailable: rank 2: its connection to the store ended: the process is gone");
}

TEST_F(Ranks, AStoppedRankIsDeclaredDeadAndHearsItWhenItWakes) {
  start_store(3);
  for (std::uint32_t rank = 0; rank < 3; ++rank)
    ranks_.push_back(start_rank(rank, rank == 1 ? std::vector<std::string>{"barrier", "failed"} : std::vector<std::string>{"barrier", "barrier"}));
  expect_lines("join ok");
  expect_lines("barrier ok");
  ranks_[1]->stop();
  const std::string verdict = "unavailable: rank 1: the process said nothing for 1.50 s: it is stopped, or cut off";
  EXPECT_EQ(same_line_of_survivors(1), "barrier " + verdict);
  ranks_[1]->cont();
  expect_line(1, "failed " + verdict);
}

TEST_F(Ranks, AStoppedRankMayComeBackInTheNextEpoch) {
  start_store(3);
  for (std::uint32_t rank = 0; rank < 3; ++rank)
    ranks_.push_back(start_rank(rank, {"barrier", rank == 1 ? "failed" : "barrier", "renew", "epoch", "barrier", "leave"}));
  expect_lines("join ok");
  expect_lines("barrier ok");
  ranks_[1]->stop();
  EXPECT_THAT(same_line_of_survivors(1), HasSubstr("rank 1: the process said nothing"));
  ranks_[1]->cont();
  expect_line(1, HasSubstr("rank 1: the process said nothing"));
  for (const char* line : {"renew ok", "at 2", "epoch ok", "barrier ok", "leave ok"}) expect_lines(line);
}

TEST_F(Ranks, AKilledStoreEndsAllWithTheSameError) {
  start(3, {"barrier", "failed", "barrier", "renew"});
  expect_lines("join ok");
  expect_lines("barrier ok");
  store_->kill();
  const std::string gone = fmt::format("unavailable: store at 127.0.0.1:{}: the store closed the connection: its process is gone", port_);
  expect_lines("failed " + gone);
  expect_lines("barrier " + gone);
  for (std::uint32_t rank = 0; rank < 3; ++rank) expect_line(rank, StartsWith("renew unavailable: store at"));  // it does not wait for another
  for (const auto& rank : ranks_) EXPECT_TRUE(rank->wait().ok());
}

TEST_F(Ranks, AStoppedStoreEndsAllWithTheSameError) {
  start(3, {"barrier", "failed"});
  expect_lines("join ok");
  expect_lines("barrier ok");
  store_->stop();
  expect_lines(fmt::format(
      "failed unavailable: store at 127.0.0.1:{}: the store said nothing for 1.50 s: its process is stopped, or the network is cut", port_));
}

TEST_F(Ranks, AnAbortReachesAllAndARestartedRankJoinsTheNextEpoch) {
  start_store(3);
  ranks_.push_back(start_rank(0, {"barrier", "failed", "renew", "epoch", "barrier", "leave"}));
  ranks_.push_back(start_rank(1, {"barrier", "abort", "failed", "hang"}));
  ranks_.push_back(start_rank(2, {"barrier", "failed", "renew", "epoch", "barrier", "leave"}));
  expect_lines("join ok");
  expect_lines("barrier ok");
  expect_line(1, "abort ok");
  expect_lines("failed remote_error: rank 1, hand-over: the worker raised");
  ranks_[1]->kill();
  EXPECT_EQ(ranks_[1]->wait().signal, SIGKILL);
  ranks_[1] = start_rank(1, {"epoch", "barrier", "leave"});
  expect_line(1, "join ok");
  for (const std::uint32_t rank : {0u, 2u}) expect_line(rank, "renew ok");
  for (const char* line : {"at 2", "epoch ok", "barrier ok", "leave ok"}) expect_lines(line);
}

TEST_F(Ranks, ARankTakenTwiceAndAWrongTokenAreRefusedAndHarmNobody) {
  start_store(2);
  ranks_.push_back(start_rank(0, {"barrier", "leave"}));
  const auto stranger = start_rank(1, {}, "guess");
  EXPECT_THAT(stranger->read_line().value_or(""), HasSubstr("failed_precondition: join as rank 1 of 2"));
  EXPECT_EQ(stranger->wait().code, 1);
  ranks_.push_back(start_rank(1, {"hang"}));
  expect_lines("join ok");
  const auto twin = start_rank(1, {});
  EXPECT_THAT(twin->read_line().value_or(""), HasSubstr("another process is this rank"));
  EXPECT_EQ(twin->wait().code, 1);
  ranks_[1]->kill();
  expect_line(0, HasSubstr("rank 1: its connection to the store ended"));
}

}  // namespace
}  // namespace ckpt::testing
