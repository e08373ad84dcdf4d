/// A Status as bytes, so that an error reaches every rank with its code, scope, stage, rank, message and advice.
#pragma once

#include <span>

#include "base/bytes.h"
#include "ckpt/status.h"

namespace ckpt {

/// Empty for ok. Texts longer than 64 KiB are cut.
[[nodiscard]] Bytes encode_status(const Status& status);
/// The status in `bytes`; ok for none. Bytes that are no status become a data_corruption that says so. Pure: a fuzz target feeds it.
[[nodiscard]] Status decode_status(std::span<const std::byte> bytes);

}  // namespace ckpt
