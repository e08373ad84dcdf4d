#include "server/version_history.h"

#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

/// Registrations of one server, as far as the history sees them.
class VersionHistoryTest : public ::testing::Test {
 protected:
  std::shared_ptr<Registration> registration() {
    history_.make_room();
    auto made = std::make_shared<Registration>();
    made->listed = true;
    return made;
  }
  void update(const std::string& name, const std::shared_ptr<Registration>& registration) {
    history_.update_begins();
    history_.went_well({name, name, registration});
  }
  /// Registered, sent and unregistered, all under one name.
  std::weak_ptr<Registration> step(const std::string& weight_version) {
    const auto made = registration();
    history_.update_begins();
    history_.went_well({"step", weight_version, made});
    history_.unlisted(*made);
    return made;
  }
  void expect_before(const std::string& weight_version) {
    const Result<Version> before = history_.before();
    ASSERT_OK(before);
    EXPECT_EQ(before->weight_version, weight_version);
  }

  VersionHistory history_{1};
};

TEST_F(VersionHistoryTest, NothingIsBeforeTheFirst) {
  EXPECT_THAT(history_.before(), Is(StatusCode::failed_precondition, HasSubstr("no version before")));
  step("v1");
  EXPECT_THAT(history_.before(), Is(StatusCode::failed_precondition, HasSubstr("no version before")));
}

TEST_F(VersionHistoryTest, TheVersionBeforeStaysAndTheOneBeforeThatMakesRoom) {
  const auto v1 = step("v1");
  const auto v2 = step("v2");
  EXPECT_FALSE(v1.expired());
  expect_before("v1");
  const auto v3 = registration();
  EXPECT_TRUE(v1.expired());
  EXPECT_FALSE(v2.expired());
  EXPECT_EQ(history_.num_before(*v3), 1u);
  history_.update_begins();  // and fails
  expect_before("v2");
}

TEST_F(VersionHistoryTest, ARegisteredVersionIsNotTheHistorysToLose) {
  const std::vector<std::shared_ptr<Registration>> all{registration(), registration(), registration()};
  for (std::size_t i = 0; i < all.size(); ++i) update("v" + std::to_string(i + 1), all[i]);
  EXPECT_FALSE(history_.give_up("memory is scarce"));
  EXPECT_EQ(history_.num_before(*all[2]), 2u);
  history_.went_back_to(history_.before()->number);
  expect_before("v1");
  history_.went_back_to(history_.before()->number);
  EXPECT_THAT(history_.before(), Is(StatusCode::failed_precondition, HasSubstr("no version before")));
}

TEST_F(VersionHistoryTest, OneThatIsSentAgainIsTheLatest) {
  const auto v1 = registration();
  const auto v2 = registration();
  update("v1", v1);
  update("v2", v2);
  update("v1", v1);
  expect_before("v2");
}

TEST_F(VersionHistoryTest, WhatWasGivenUpIsToldOnce) {
  const auto v1 = step("v1");
  EXPECT_TRUE(history_.give_up("memory is scarce"));
  EXPECT_TRUE(v1.expired());
  EXPECT_FALSE(history_.give_up("memory is scarce"));
  EXPECT_EQ(history_.take_note(), "no earlier version is kept: memory is scarce");
  EXPECT_EQ(history_.take_note(), "");
  step("v2");
  EXPECT_THAT(history_.before(),
              Is(StatusCode::failed_precondition, HasSubstr("checkpoint step, the version before, is not kept any more: memory is")));
  for (const char* name : {"v3", "v4", "v5"}) step(name);
  EXPECT_TRUE(history_.give_up("all were forgotten"));
  EXPECT_THAT(history_.before(), Is(StatusCode::failed_precondition, HasSubstr("the version before, is not kept any more: all were forgotten")));
  history_.update_begins();
  EXPECT_THAT(history_.before(), Is(StatusCode::failed_precondition, HasSubstr("the version before, is not kept any more: all were forgotten")));
}

TEST_F(VersionHistoryTest, FilesThatLieWhereTheCallerHasThemAreNotKept) {
  struct InFiles final : PoolShare {
    [[nodiscard]] std::span<const CopyRun> runs(std::uint32_t, std::uint32_t) const override { return {}; }
    [[nodiscard]] const std::vector<SegmentInfo>& segments() const override { return segments_; }
    [[nodiscard]] const std::vector<UnitDigest>& digests() const override { return digests_; }
    [[nodiscard]] std::uint64_t bytes() const override { return 0; }
    [[nodiscard]] Status lay_out_again(const Checkpoint&, const CheckpointLayout&, std::uint32_t, bool, const AbortSignal&) override { return {}; }
    std::vector<SegmentInfo> segments_{{0, 4096, "/dev/shm/model.safetensors"}};
    std::vector<UnitDigest> digests_;
  };
  auto v1 = registration();
  v1->part = std::make_unique<InFiles>();
  update("v1", v1);
  const auto v2 = registration();
  update("v2", v2);
  history_.unlisted(*v1);
  EXPECT_THAT(history_.before(),
              Is(StatusCode::failed_precondition, HasSubstr("checkpoint v1, the version before, is not registered any more, and")));
}

TEST(VersionHistory, WithoutKeptVersionsARegisteredOneCountsAlone) {
  VersionHistory history(0);
  auto v1 = std::make_shared<Registration>();
  auto v2 = std::make_shared<Registration>();
  v1->listed = v2->listed = true;
  history.went_well({"v1", "v1", v1});
  history.went_well({"v2", "v2", v2});
  EXPECT_OK(history.before());
  const std::weak_ptr<Registration> held = v1;
  history.unlisted(*v1);
  v1.reset();
  EXPECT_TRUE(held.expired());
  EXPECT_THAT(history.before(), Is(StatusCode::failed_precondition, HasSubstr("checkpoint v1, the version before, is not registered any more")));
  history.unlisted(*v2);
  EXPECT_EQ(v2.use_count(), 1);
}

}  // namespace
}  // namespace ckpt
