// Entry point: parses the command line, runs one command, prints its error and returns the exit code of the one table.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "base/log.h"
#include "cli/command.h"
#include "os/process.h"

namespace ckpt {
namespace {

struct Entry {
  const char* name;
  AddCommand add;
};

// Commands in the order of `--help`.
constexpr Entry kCommands[] = {
    {"update", add_update},
    {"launch", add_launch},
    {"engine", add_engine},
    {"plan", add_plan},

    {"inspect", add_inspect},
    {"doctor", add_doctor},
    {"bench", add_bench},
    {"demo", add_demo},
    {"serve", add_serve},
    {"make-checkpoint", add_make_checkpoint},
    {"engine-worker", add_engine_worker},
};

void print_error(const Status& status, bool json) {
  if (!json) {
    std::fprintf(stderr, "ckpt-engine: %s\n", status.to_string().c_str());
    return;
  }
  std::string text;
  for (const char c : status.to_string()) {
    if (c == '"' || c == '\\') text += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) text += c;
    if (c == '\n') text += "\\n";
  }
  std::printf("{\"error\":\"%s\",\"code\":\"%s\",\"exit_code\":%d}\n", text.c_str(), std::string(name(status.code())).c_str(),
              info(status.code()).exit_code);
}

int run(int argc, char** argv) {
  CommonOptions common;
  common.command_line.assign(argv, argv + argc);
  common.command_line[0] = own_executable();
  if (Result<Settings> settings = Settings::from_environment(); settings.ok()) {
    common.settings = std::move(settings).value();
  } else {
    print_error(settings.status(), false);
    return info(settings.status().code()).exit_code;
  }
  CLI::App app{"ckpt-engine puts the weights of large language models into running inference engines, in place.", "ckpt-engine"};
  app.require_subcommand(1);
  app.set_version_flag("--version", CKPT_VERSION);
  std::vector<CommandRunner> runners;
  for (const Entry& entry : kCommands) runners.push_back(entry.add(app, common));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : info(StatusCode::invalid_argument).exit_code;
  }
  const auto level = log_level_from_name(common.settings.text("log_level"));
  if (!level) {
    print_error({StatusCode::invalid_argument, Scope::operation, "--log-level {}: give trace, debug, info, warning, error or off",
                 common.settings.text("log_level")},
                common.json);
    return info(StatusCode::invalid_argument).exit_code;
  }
  set_log_level(common.quiet ? LogLevel::error : *level);
  for (std::size_t i = 0; i < runners.size(); ++i) {
    if (!app.got_subcommand(kCommands[i].name)) continue;
    const Status status = runners[i]();
    if (!status.ok() && !common.error_told) print_error(status, common.json);
    return common.exit_code.value_or(info(status.code()).exit_code);
  }
  return info(StatusCode::internal).exit_code;
}

}  // namespace
}  // namespace ckpt

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond RLIMIT_FSIZE, of a library too, is an error of the call
  return ckpt::run(argc, argv);
}
