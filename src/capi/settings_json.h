/// Options of the product out of a JSON object.
#pragma once

#include "base/options.h"

namespace ckpt::capi {

/// The environment's values, and those of `text` (null: none) above them: {"bucket_size": "2GiB", "num_slots": 2, "device": "host"}.
/// invalid_argument, not_found name what does not fit.
[[nodiscard]] Result<Settings> settings_from_json(const char* text);

}  // namespace ckpt::capi
