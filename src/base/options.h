/// Every tunable of the product in one table. The command line, docs/reference/options.md and the error texts come from it; it alone reads the
/// environment. One name everywhere: `--bucket-size` = `bucket_size` = `CKPT_BUCKET_SIZE`.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "ckpt/result.h"

namespace ckpt {

enum class Unit : std::uint8_t { text, flag, count, bytes, duration };

/// One row. `min` and `max` are in the unit's base: items, bytes or nanoseconds; both 0 means unbounded.
struct Option {
  std::string_view name;           ///< snake_case
  std::string_view environment;    ///< CKPT_…
  std::string_view default_value;  ///< as a user would write it; empty: none; "auto": a number of 0, which the reader replaces
  Unit unit;
  std::uint64_t min;
  std::uint64_t max;
  std::string_view help;  ///< one sentence
};

/// All rows, sorted by name.
[[nodiscard]] std::span<const Option> option_table();
[[nodiscard]] const Option* find_option(std::string_view name);

/// "30s", "1.5m", "200ms", "2h", "30" (seconds) → duration. invalid_argument otherwise.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

/// The values in force: default, then environment, then what was set by hand. Immutable while shared between threads.
class Settings {
 public:
  /// Defaults and environment. invalid_argument names the variable that cannot be read or is out of range, and the range.
  [[nodiscard]] static Result<Settings> from_environment();
  /// Defaults alone.
  [[nodiscard]] static Settings defaults();

  /// Sets `name` from text; `source` ("--bucket-size") appears in the error. not_found, invalid_argument.
  [[nodiscard]] Status set(std::string_view name, std::string_view text, std::string_view source);

  [[nodiscard]] const std::string& text(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] std::uint64_t count(std::string_view name) const;
  [[nodiscard]] std::uint64_t bytes(std::string_view name) const;
  [[nodiscard]] Duration duration(std::string_view name) const;

 private:
  Settings() = default;
  struct Value {
    std::string text;
    std::uint64_t number = 0;
  };
  const Value& value(std::string_view name, Unit unit) const;
  std::map<std::string, Value, std::less<>> values_;
};

/// A variable that is not ours (RANK, SLURM_PROCID, XDG_RUNTIME_DIR): nullopt when unset or empty. The only getenv of the product is behind it.
[[nodiscard]] std::optional<std::string> environment(const char* variable);

}  // namespace ckpt
