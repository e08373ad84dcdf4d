/// EXPECT_OK, ASSERT_OK and Is(code, text…) for Status and Result<T>; soon() for what they wait for.
#pragma once

#include <gmock/gmock.h>

#include "base/deadline.h"
#include "ckpt/result.h"

namespace ckpt::testing {

/// For what takes milliseconds: a deadline that passes only where something hangs, on the slowest machine too.
inline Deadline soon() { return Deadline::after(std::chrono::seconds(20)); }

inline Status status_of(const Status& status) { return status; }
template <typename T>
Status status_of(const Result<T>& result) {
  return result.status();
}

/// Matches a Status or Result<T> of `code` whose text matches `text`.
MATCHER_P2(Is, code, text, fmt::format("is {} with a fitting text", name(code))) {
  const Status status = status_of(arg);
  *result_listener << "which is " << status.to_string();
  return status.code() == code && ::testing::ExplainMatchResult(text, status.to_string(), result_listener);
}
MATCHER_P(Is, code, fmt::format("is {}", name(code))) {
  const Status status = status_of(arg);
  *result_listener << "which is " << status.to_string();
  return status.code() == code;
}

/// Matches an ok Status or Result<T>.
MATCHER(IsOk, "is ok") {
  const Status status = status_of(arg);
  *result_listener << "which is " << status.to_string();
  return status.ok();
}

}  // namespace ckpt::testing

#define EXPECT_OK(expression) EXPECT_THAT(expression, ::ckpt::testing::IsOk())
#define ASSERT_OK(expression) ASSERT_THAT(expression, ::ckpt::testing::IsOk())
