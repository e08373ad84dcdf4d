// Prints docs/reference/options.md from the option table and the table of status codes.
#include <cstdio>
#include <string>

#include "base/bytes.h"
#include "base/options.h"
#include "ckpt/status.h"

namespace ckpt {
namespace {

constexpr std::string_view kHeading =
    "# Options and exit codes\n\n"
    "Written by `scripts/generate-docs` from the tables in `src/base/options.cc` and `include/ckpt/status.h`; a test compares.\n\n"
    "Every option has one name everywhere: `--bucket-size` on the command line is `bucket_size` in the library and `CKPT_BUCKET_SIZE` in the\n"
    "environment. The command line wins over the environment, which wins over the default. Sizes: `4096`, `512MiB`, `8GB`. Durations: `30s`, "
    "`200ms`,\n"
    "`5m`, `2h`. `ckpt-engine COMMAND --help` says which options a command takes.\n\n";

/// A whole number of the largest binary unit that fits; the exact number otherwise.
std::string bytes_text(std::uint64_t bytes) {
  constexpr std::pair<std::uint64_t, std::string_view> kUnits[] = {{GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}};
  for (const auto& [unit, suffix] : kUnits)
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{} {}", bytes / unit, suffix);
  return fmt::format("{} B", bytes);
}

std::string bound_text(const Option& option, std::uint64_t bound) {
  if (option.unit == Unit::bytes) return bytes_text(bound);
  if (option.unit == Unit::duration) return fmt::format("{:g} s", seconds(Duration(static_cast<std::int64_t>(bound))));
  return fmt::format("{}", bound);
}

std::string range_text(const Option& option) {
  if (option.unit == Unit::text || option.unit == Unit::flag || option.max == 0) return "";
  return fmt::format("{} to {}", bound_text(option, option.min), bound_text(option, option.max));
}

void print_options() {
  std::puts("| option | environment | default | range | what it does |\n|---|---|---|---|---|");
  for (const Option& option : option_table()) {
    std::string flag(option.name);
    for (char& c : flag)
      if (c == '_') c = '-';
    const std::string fallback = option.default_value.empty() ? std::string() : fmt::format("`{}`", option.default_value);
    fmt::print("| `--{}` | `{}` | {} | {} | {} |\n", flag, option.environment, fallback, range_text(option), option.help);
  }
}

void print_codes() {
  std::puts("\n## Exit codes\n\nEach error has one code, which decides the exit code of the command and the HTTP status of a server.\n");
  std::puts("| exit code | name | HTTP status |\n|---|---|---|");
  for (const StatusCodeInfo& row : kStatusCodes) fmt::print("| {} | {} | {} |\n", row.exit_code, row.name, row.http_status);
}

}  // namespace
}  // namespace ckpt

int main() {
  std::fwrite(ckpt::kHeading.data(), 1, ckpt::kHeading.size(), stdout);
  ckpt::print_options();
  std::fflush(stdout);
  ckpt::print_codes();
  return 0;
}
