#include "cli/command.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/log.h"

namespace ckpt {
namespace {

std::string flag_of(std::string_view option) {
  std::string flag = "--" + std::string(option);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

void set_or_throw(CommonOptions& common, std::string_view name, const std::string& text, const std::string& flag) {
  if (const Status status = common.settings.set(name, text, flag); !status.ok()) throw CLI::ValidationError(status.message());
}

}  // namespace

bool on_terminal() { return ::isatty(STDERR_FILENO) == 1; }

void add_common_options(CLI::App& command, CommonOptions& common, const std::vector<std::string_view>& settings) {
  command.add_flag("--json", common.json, "Print one JSON document for machines");
  command.add_flag("-q,--quiet", common.quiet, "Print errors only");
  std::vector<std::string_view> names(settings);
  names.emplace_back("log_level");
  for (const std::string_view name : names) {
    const Option* option = find_option(name);
    const std::string flag = flag_of(name);
    command
        .add_option_function<std::string>(
            flag, [&common, name, flag](const std::string& text) { set_or_throw(common, name, text, flag); },
            fmt::format("{} Environment: {}.", option->help, option->environment))
        ->type_name(option->unit == Unit::bytes      ? "BYTES"
                    : option->unit == Unit::duration ? "DURATION"
                    : option->unit == Unit::count    ? "N"
                                                     : "TEXT")
        ->default_str(std::string(option->default_value));
  }
}

}  // namespace ckpt
