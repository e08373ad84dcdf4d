/// Made-up tensor bytes: the same for a seed, a name and an offset on every machine, whichever file holds them.
#pragma once

#include <cstdint>
#include <span>

#include "manifest/parameter.h"

namespace ckpt {

/// Fills `into` with the bytes of `parameter` from `offset_bytes` (a multiple of 8) on. Floating-point values are finite, BOOL is 0 or 1.
/// Pure; over 1 GB/s.
void fill_content(const Parameter& parameter, std::uint64_t seed, std::uint64_t offset_bytes, std::span<std::byte> into);

}  // namespace ckpt
