#include "server/engine_map.h"

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

TEST(EngineMap, TheKthGroupOfAHostDrivesItsKthEndpoint) {
  const std::vector<RankPlace> places{{"a", 2}, {"a", 2}, {"a", 2}, {"a", 2}, {"b", 1}, {"b", 1}, {"b", 1}, {"b", 1}};
  const auto groups = map_engines(places, 2);
  ASSERT_OK(groups);
  ASSERT_EQ(groups->size(), 4u);
  EXPECT_EQ((*groups)[0].endpoint, 0u);
  EXPECT_EQ((*groups)[1].endpoint, 1u);
  EXPECT_EQ((*groups)[2].endpoint, 0u);
  EXPECT_EQ((*groups)[3].endpoint, std::nullopt);
  EXPECT_EQ((*groups)[2].first_rank, 4u);
}

TEST(EngineMap, OneEngineOverTwoHostsIsDrivenByItsFirstRank) {
  const std::vector<RankPlace> places{{"a", 1}, {"a", 1}, {"b", 1}, {"b", 1}};
  const auto groups = map_engines(places, 4);
  ASSERT_OK(groups);
  EXPECT_EQ(groups->size(), 1u);
  EXPECT_EQ((*groups)[0].endpoint, 0u);
}

TEST(EngineMap, RefusesSizesThatDoNotFit) {
  const std::vector<RankPlace> places{{"a", 2}, {"a", 2}, {"a", 2}};
  EXPECT_THAT(map_engines(places, 2), Is(StatusCode::invalid_argument, HasSubstr("does not divide 3 ranks")));
  EXPECT_THAT(map_engines(places, 0), Is(StatusCode::invalid_argument));
  EXPECT_THAT(map_engines(places, 3), Is(StatusCode::invalid_argument, HasSubstr("2 endpoints were given, but only 1 group(s)")));
}

TEST(EngineMap, RefusesAnUpdateOfNoEngine) {
  const std::vector<RankPlace> places{{"a", 0}, {"a", 0}};
  EXPECT_THAT(map_engines(places, 1), Is(StatusCode::invalid_argument, HasSubstr("no rank that leads a group was given an --endpoint")));
}

}  // namespace
}  // namespace ckpt
