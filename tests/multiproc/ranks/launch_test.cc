// `ckpt-engine launch`: what its ranks see, how it ends, and that nothing stays behind.
#include "support/test_process.h"

namespace ckpt::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::vector<std::string> launch(std::vector<std::string> options, const std::string& script) {
  std::vector<std::string> command{CKPT_ENGINE_BINARY, "launch"};
  command.insert(command.end(), options.begin(), options.end());
  command.insert(command.end(), {"--", "sh", "-c", script});
  return command;
}

TEST(Launch, RanksFindTheirPlaceInTheEnvironment) {
  TestProcess process(
      launch({"--nproc-per-node", "2", "--label-output"},
             "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $MASTER_ADDR:$MASTER_PORT ${CKPT_STORE_ADDRESS%:*} ${#CKPT_STORE_TOKEN}"));
  EXPECT_THAT(process.read_lines(), UnorderedElementsAre("[0] 0/2 0/2 127.0.0.1:29500 127.0.0.1 32", "[1] 1/2 1/2 127.0.0.1:29500 127.0.0.1 32"));
  EXPECT_TRUE(process.wait().ok());
}

TEST(Launch, LabelsKeepLinesWholeAndTheLastOneWithoutAnEnd) {
  TestProcess process(launch({"--nproc-per-node", "1", "--label-output"}, "printf 'a\\n\\nlast'"));
  EXPECT_EQ(process.read_lines(), (std::vector<std::string>{"[0] a", "[0] ", "[0] last"}));
  EXPECT_TRUE(process.wait().ok());
}

TEST(Launch, ExitCodeIsThatOfTheRankThatFailedFirstAndTheOthersEnd) {
  TestProcess process(launch({"--nproc-per-node", "3"}, "echo $$; [ $RANK = 1 ] && exit 33; exec sleep 1000"));
  const std::vector<std::string> pids = process.read_lines();
  EXPECT_EQ(process.wait().code, 33);
  ASSERT_EQ(pids.size(), 3u);
  for (const std::string& pid : pids) EXPECT_FALSE(process_runs(std::stoi(pid))) << pid;
}

TEST(Launch, ARankKilledBySignalGivesTheShellsExitCode) {
  TestProcess process(launch({"--nproc-per-node", "2"}, "[ $RANK = 1 ] && kill -KILL $$; exec sleep 1000"));
  EXPECT_EQ(process.wait().code, 137);
}

TEST(Launch, SignalsAreHandedOnAndEndItInGoodOrder) {
  for (const int number : {SIGINT, SIGTERM}) {
    TestProcess process(launch({"--nproc-per-node", "2", "--label-output"},
                               "trap 'echo int; exit 0' INT; trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.05; done"));
    for (int i = 0; i < 2; ++i) EXPECT_THAT(process.read_line().value_or(""), HasSubstr("ready"));
    process.signal(number);
    const std::string word = number == SIGINT ? "int" : "term";
    EXPECT_THAT(process.read_lines(), UnorderedElementsAre("[0] " + word, "[1] " + word));
    EXPECT_EQ(process.wait().code, 8);  // cancelled
  }
}

TEST(Launch, RanksThatIgnoreTheSignalAreKilled) {
  TestProcess process(launch({"--nproc-per-node", "1"}, "trap '' TERM; echo $$; while :; do sleep 0.05; done"));
  const pid_t rank = std::stoi(process.read_line().value_or("0"));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().code, 8);
  EXPECT_FALSE(process_runs(rank));
}

TEST(Launch, RanksDieWithAKilledLauncher) {
  TestProcess process(launch({"--nproc-per-node", "2"}, "echo $$; exec sleep 1000"));
  std::vector<pid_t> ranks;
  for (int i = 0; i < 2; ++i) ranks.push_back(std::stoi(process.read_line().value_or("0")));
  process.kill();
  for (const pid_t rank : ranks) wait_until("the end of a rank", [&] { return !process_runs(rank); });
}

TEST(Launch, WhatCannotBeIsRefused) {
  for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
           {"--nproc-per-node", "0"}, {"--nnodes", "2", "--node-rank", "2"}, {"--master-port", "65535"}, {"--nnodes", "2"}}) {
    TestProcess process(launch(options, "true"));
    EXPECT_EQ(process.wait().code, 2) << options[0];
  }
  TestProcess missing({CKPT_ENGINE_BINARY, "launch", "--", "ckpt-no-such-program"});
  EXPECT_EQ(missing.wait().code, 3);
}

}  // namespace
}  // namespace ckpt::testing
