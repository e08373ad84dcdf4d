/// Fresh memory made resident before it is used: in parallel, once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ckpt/status.h"

namespace ckpt {

/// Of ordinary memory and of the page cache.
inline constexpr std::uint64_t kPageBytes = 4096;

/// Makes every page of `memory` resident and writable. MADV_POPULATE_WRITE where the kernel has it (5.14), else by touching.
/// resource_exhausted when the kernel has no page left.
[[nodiscard]] Status populate(std::span<std::byte> memory, unsigned threads);

/// Maps the pages that a file has for this memory, so that later reads do not fault one by one. data_corruption: the file ends before.
[[nodiscard]] Status map_pages(const std::byte* data, std::uint64_t bytes);

/// Asks for pages of 2 MiB where `memory` allows: before it is populated. A wish: ordinary pages work too. Shared memory gets them where
/// /sys/kernel/mm/transparent_hugepage/shmem_enabled says "advise".
void wish_huge_pages(std::span<std::byte> memory) noexcept;

}  // namespace ckpt
