#include "ckpt/status.h"

#include "ckpt/result.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

TEST(Status, TextSaysCodePlaceCauseAndAdvice) {
  const Status status = Status(StatusCode::unavailable, Scope::peer, "no answer in {} s", 30)
                            .with_note("bucket {}", 17)
                            .at_stage("hand-over")
                            .at_rank(2)
                            .advise("restart the engine");
  EXPECT_EQ(status.to_string(), "unavailable: rank 2, hand-over: bucket 17: no answer in 30 s (restart the engine)");
}

TEST(Status, ThePlaceNearestToTheCauseWins) {
  const Status status = Status(StatusCode::internal, Scope::operation, "x").at_stage("fill").at_stage("load").at_rank(0).at_rank(1);
  EXPECT_EQ(status.stage(), "fill");
  EXPECT_EQ(status.rank(), 0);
}

TEST(Status, OkStaysOkWhateverIsAdded) {
  EXPECT_TRUE(Status::success().with_note("x").at_stage("load").at_rank(1).advise("y").ok());
  EXPECT_EQ(Status::success().to_string(), "ok");
}

TEST(Status, NamesLeadBackToTheirCodes) {
  for (const StatusCodeInfo& row : kStatusCodes) EXPECT_EQ(status_code_from_name(row.name), row.code);
  EXPECT_EQ(status_code_from_name("no such code"), std::nullopt);
}

Result<int> half(int x) {
  if (x % 2 != 0) return Status(StatusCode::invalid_argument, Scope::operation, "{} is odd", x);
  return x / 2;
}
Result<int> quarter(int x) {
  CKPT_ASSIGN_OR_RETURN(const int once, half(x));
  return half(once);
}

TEST(Result, ErrorsPassThroughTheMacro) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_THAT(quarter(6), testing::Is(StatusCode::invalid_argument, ::testing::HasSubstr("3 is odd")));
}

}  // namespace
}  // namespace ckpt
