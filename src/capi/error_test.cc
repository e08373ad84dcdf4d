#include "capi/error.h"

#include <gtest/gtest.h>

namespace ckpt {
namespace {

TEST(CapiError, TellsWhatTheStatusTells) {
  ckpt_error* error = nullptr;
  const Status status =
      Status(StatusCode::not_found, Scope::operation, "no checkpoint named {}", "x").at_stage("load").at_rank(2).advise("register it");
  EXPECT_EQ(capi::hand_out(status, &error), static_cast<std::int32_t>(StatusCode::not_found));
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(ckpt_error_text(error), status.to_string().c_str());
  EXPECT_STREQ(ckpt_error_message(error), "no checkpoint named x");
  EXPECT_STREQ(ckpt_error_stage(error), "load");
  EXPECT_STREQ(ckpt_error_advice(error), "register it");
  EXPECT_EQ(ckpt_error_rank(error), 2);
  ckpt_error_free(error);
}

TEST(CapiError, OkLeavesTheErrorAlone) {
  ckpt_error* error = nullptr;
  EXPECT_EQ(capi::hand_out(Status::success(), &error), 0);
  EXPECT_EQ(error, nullptr);
  ckpt_error_free(error);
}

TEST(CapiError, CodesHaveTheNamesOfTheTable) {
  for (const StatusCodeInfo& row : kStatusCodes) EXPECT_EQ(ckpt_code_name(static_cast<std::int32_t>(row.code)), row.name);
  EXPECT_EQ(ckpt_code_name(-1), nullptr);
  EXPECT_EQ(ckpt_code_name(static_cast<std::int32_t>(kStatusCodes.size())), nullptr);
}

}  // namespace
}  // namespace ckpt
