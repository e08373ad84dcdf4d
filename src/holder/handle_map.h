/// The sender's handle map: which session each of our workers connects to.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/result.h"

namespace ckpt {

/// Keys are `HOST-<boot id>-<global rank>`, all of them, and the worker of TP rank r takes the r-th entry, ordered by that number; or the UUIDs of
/// GPUs
/// (`GPU-…`, `MIG-…`), in the order of their text. Returns `tp` addresses.
/// invalid_argument: another number of entries than workers, a key of another form or host, two keys of one rank.
[[nodiscard]] Result<std::vector<std::string>> addresses_of_workers(const std::map<std::string, std::string>& handles, std::uint32_t tp,
                                                                    std::string_view boot_id);

/// The boot id of this host: equal for all processes that share its memory.
[[nodiscard]] Result<std::string> read_boot_id();

}  // namespace ckpt
