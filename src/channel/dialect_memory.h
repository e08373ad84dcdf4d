/// What the workers of each engine spoke last, on disk beside the journal, so that the next update need not wait to find it out.
///
///   <runtime dir>/dialects     a line each: dialect ("1", "2"), a space, the engine (EngineDriver::identity()); the latest first
#pragma once

#include <string>
#include <string_view>

#include "channel/bucket_session.h"

namespace ckpt {

/// Dialect one or two as `file` has it for `engine`; automatic where nothing is known: no file, or content that is not to be read. A hint, no more:
/// the engine may be another one by now.
[[nodiscard]] Dialect recall_dialect(const std::string& file, std::string_view engine);

/// Keeps `dialect` for the next update; anything but one and two: forgets the engine. The file is replaced whole, and lies in a directory that is
/// private. What cannot be kept (the disk refuses, another update writes just now) is left as it was: the next update finds out again.
void remember_dialect(const std::string& file, std::string_view engine, Dialect dialect) noexcept;

}  // namespace ckpt
