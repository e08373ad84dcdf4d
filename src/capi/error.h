/// A status as the C interface gives it.
#pragma once

#include <string>

#include "ckpt/ckpt.h"
#include "ckpt/result.h"

/// Keeps the texts that it hands out.
struct ckpt_error {
  ckpt::Status status;
  std::string text;
};

namespace ckpt::capi {

/// The code of `status`; where it is an error and `error` is not null, its description too.
[[nodiscard]] std::int32_t hand_out(const Status& status, ckpt_error** error);

}  // namespace ckpt::capi
