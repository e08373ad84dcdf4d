#include "rendezvous/launcher_environment.h"

#include <map>

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;
using Variables = std::map<std::string, std::string>;

Result<std::optional<LauncherEnvironment>> read(const Variables& variables) {
  return read_launcher_environment([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

TEST(LauncherEnvironment, NoneIsAProcessAlone) { EXPECT_FALSE(read({{"HOME", "/"}}).value().has_value()); }

TEST(LauncherEnvironment, TorchrunKeepsItsPortSoTheStoreTakesTheNext) {
  const auto env =
      read({{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"}, {"MASTER_ADDR", "h0"}, {"MASTER_PORT", "29400"}})
          .value();
  ASSERT_TRUE(env.has_value());
  EXPECT_EQ(env->launcher, "torchrun");
  EXPECT_EQ(env->rank, 3u);
  EXPECT_EQ(env->local_rank, 1u);
  EXPECT_EQ(env->store.host, "h0");
  EXPECT_EQ(env->store.port, 29401);
  EXPECT_FALSE(env->store_is_hosted);
}

TEST(LauncherEnvironment, OurOwnLauncherHostsTheStore) {
  const auto env = read({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"CKPT_STORE_ADDRESS", "127.0.0.1:4000"}}).value();
  EXPECT_TRUE(env->store_is_hosted);
  EXPECT_EQ(env->store.port, 4000);
  EXPECT_THAT(read({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"CKPT_STORE_ADDRESS", "nowhere"}}),
              Is(StatusCode::invalid_argument, HasSubstr("is not host:port")));
}

TEST(LauncherEnvironment, SlurmAndMpiAreUnderstood) {
  const auto slurm = read({{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "16"}, {"SLURM_LOCALID", "5"}, {"SLURM_STEP_NODELIST", "gpu[07-08,12]"}}).value();
  EXPECT_EQ(slurm->store.host, "gpu07");
  EXPECT_EQ(slurm->store.port, 29501);
  const auto open_mpi =
      read({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}})
          .value();
  EXPECT_EQ(open_mpi->store.host, "127.0.0.1");
  EXPECT_EQ(read({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"MASTER_ADDR", "x"}}).value()->launcher, "pmi");
}

TEST(LauncherEnvironment, ErrorsNameTheVariable) {
  EXPECT_THAT(read({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), Is(StatusCode::invalid_argument, HasSubstr("RANK=\"x\"")));
  EXPECT_THAT(read({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), Is(StatusCode::invalid_argument, HasSubstr("RANK=2 does not fit WORLD_SIZE=2")));
  EXPECT_THAT(read({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "65535"}}),
              Is(StatusCode::invalid_argument, HasSubstr("MASTER_PORT")));
  EXPECT_THAT(read({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}),
              Is(StatusCode::invalid_argument, HasSubstr("MASTER_ADDR is not set")));
}

TEST(LauncherEnvironment, HalfASetIsAnErrorButABatchScriptOfSlurmIsNot) {
  EXPECT_THAT(read({{"RANK", "0"}}), Is(StatusCode::invalid_argument, HasSubstr("WORLD_SIZE is not set")));
  EXPECT_THAT(read({{"OMPI_COMM_WORLD_RANK", "0"}}), Is(StatusCode::invalid_argument, HasSubstr("OMPI_COMM_WORLD_SIZE is not set")));
  EXPECT_FALSE(read({{"SLURM_PROCID", "0"}}).value().has_value());
  EXPECT_THAT(read({{"RANK", "0"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "2"}, {"LOCAL_WORLD_SIZE", "2"}}),
              Is(StatusCode::invalid_argument, HasSubstr("LOCAL_RANK=2 does not fit LOCAL_WORLD_SIZE=2")));
}

TEST(LauncherEnvironment, TheLaunchersNameOfTheRunIsKept) {
  EXPECT_EQ(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"TORCHELASTIC_RUN_ID", "job-7"}}).value()->job, "job-7");
}

TEST(SlurmHosts, TheFirstIsTaken) {
  EXPECT_EQ(*first_slurm_host("a"), "a");
  EXPECT_EQ(*first_slurm_host("a,b"), "a");
  EXPECT_EQ(*first_slurm_host("n[3,5-9],m1"), "n3");
  EXPECT_EQ(*first_slurm_host("n[01-04]-ib,m1"), "n01-ib");
  for (const char* bad : {"", ",", "n[", "n[]", "n[x-y]"}) EXPECT_THAT(first_slurm_host(bad), Is(StatusCode::invalid_argument)) << bad;
}

}  // namespace
}  // namespace ckpt
