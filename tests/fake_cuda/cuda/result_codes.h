/// The CUresults that the software GPU gives, beside those that the product names, and their texts.
#pragma once

#include "device/cuda/cuda_driver.h"

namespace ckpt::fake {

inline constexpr CuResult kInvalidValue = 1;
inline constexpr CuResult kNotInitialized = 3;
inline constexpr CuResult kDeinitialized = 4;
inline constexpr CuResult kInvalidDevice = 101;
inline constexpr CuResult kInvalidContext = 201;
inline constexpr CuResult kMapFailed = 205;
inline constexpr CuResult kInvalidHandle = 400;
inline constexpr CuResult kNotRegistered = 713;
inline constexpr CuResult kContextIsDestroyed = 709;
inline constexpr CuResult kNotSupported = 801;

struct ResultText {
  CuResult code;
  const char* name;
  const char* text;
};
/// Null for a number that is no CUresult.
[[nodiscard]] const ResultText* find_result_text(CuResult code);

}  // namespace ckpt::fake
