/// Reads pickles of the engine channel as data. A closed grammar: the values that Python's pickler writes for None, bool, int, float, str, bytes,
/// tuple, list and dict, and the names in pickle_globals.h. Nothing is executed; every other opcode and name is refused.
#pragma once

#include <cstddef>
#include <string_view>

#include "channel/pickle_value.h"
#include "ckpt/result.h"

namespace ckpt {

struct PickleLimits {
  std::size_t max_values = 1'000'000;
  int max_depth = 32;
};

/// The one value in `bytes` (protocol 2 to 5), which must outlive the document. data_corruption names what does not fit, and its offset.
[[nodiscard]] Result<PickleDocument> read_pickle(std::string_view bytes, const PickleLimits& limits = {});

}  // namespace ckpt
