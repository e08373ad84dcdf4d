/// Fresh memory made resident before it is used: in parallel, once.
#pragma once

#include <cstddef>
#include <span>

#include "ckpt/status.h"

namespace ckpt {

/// Makes every page of `memory` resident and writable. MADV_POPULATE_WRITE where the kernel has it (5.14), else by touching.
/// resource_exhausted when the kernel has no page left.
[[nodiscard]] Status populate(std::span<std::byte> memory, unsigned threads);

}  // namespace ckpt
