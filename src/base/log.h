/// Leveled log lines on standard error. The place that decides an error logs it; later ones only return it.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "ckpt/status.h"

namespace ckpt {

/// Defined by volume: error: at most one an operation. warning: something costs the user. info: a few lines an update.
/// debug: a line a stage and bucket. trace: anything.
enum class LogLevel { trace, debug, info, warning, error, off };

[[nodiscard]] std::optional<LogLevel> log_level_from_name(std::string_view name);
void set_log_level(LogLevel level);
[[nodiscard]] bool log_enabled(LogLevel level);
/// Put before each line, for example "rank 3". Set once, before threads start.
void set_log_prefix(std::string prefix);
void log_text(LogLevel level, std::string_view text);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_text(level, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::error, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warning, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::debug, format, std::forward<Args>(args)...);
}

}  // namespace ckpt
