/// What every command of `ckpt-engine` shares: options from the one table, output for people or machines, one exit code table.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "ckpt/status.h"

namespace CLI {
class App;
}

namespace ckpt {

/// Values of the options that all commands have. Filled while the command line is parsed; read when the command runs.
struct CommonOptions {
  bool json = false;                  ///< one JSON document on standard output, nothing else there
  bool quiet = false;                 ///< errors only
  bool error_told = false;            ///< set by a command that has printed its error: main() adds nothing
  std::optional<int> exit_code = {};  ///< set by a command whose exit code is another program's: instead of the table's
  Settings settings = Settings::defaults();
  std::vector<std::string> command_line;  ///< as this process was started: for ranks that run the same command
};

/// Runs the command. Prints its own output; an error is printed by main(), as text or JSON, and becomes the exit code.
using CommandRunner = std::function<Status()>;

/// Registers one subcommand with its options, help and example. `common` outlives the parse and the run.
using AddCommand = CommandRunner (*)(CLI::App& app, CommonOptions& common);

CommandRunner add_inspect(CLI::App& app, CommonOptions& common);
CommandRunner add_plan(CLI::App& app, CommonOptions& common);
CommandRunner add_launch(CLI::App& app, CommonOptions& common);
CommandRunner add_engine(CLI::App& app, CommonOptions& common);
CommandRunner add_update(CLI::App& app, CommonOptions& common);
CommandRunner add_doctor(CLI::App& app, CommonOptions& common);
CommandRunner add_bench(CLI::App& app, CommonOptions& common);
CommandRunner add_demo(CLI::App& app, CommonOptions& common);
CommandRunner add_serve(CLI::App& app, CommonOptions& common);
CommandRunner add_make_checkpoint(CLI::App& app, CommonOptions& common);
CommandRunner add_engine_worker(CLI::App& app, CommonOptions& common);  ///< hidden: started by `engine` alone

/// Adds `--json`, `--quiet` and `--log-level` to `command`, and `--name` for each of `settings`, with help, range and default from the option table.
void add_common_options(CLI::App& command, CommonOptions& common, const std::vector<std::string_view>& settings);

/// Whether standard error is a terminal: progress bars there, plain lines elsewhere.
[[nodiscard]] bool on_terminal();

}  // namespace ckpt
