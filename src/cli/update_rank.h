/// One rank of `ckpt-engine update`, from its environment to its report.
#pragma once

#include "cli/command.h"
#include "cli/update_arguments.h"
#include "os/abort_signal.h"
#include "rendezvous/launcher_environment.h"

namespace ckpt {

/// Joins the group, registers, gathers, updates. Rank 0 shows progress and prints the report. `place` empty: a group of one.
[[nodiscard]] Status run_update_rank(const UpdateArguments& arguments, const CommonOptions& common, const std::optional<LauncherEnvironment>& place,
                                     Deadline deadline, const AbortSignal& interrupt);

/// Makes the report's file with `text` beside it first, then renames: a reader never sees half of it.
[[nodiscard]] Status write_file(const std::string& path, const std::string& text);

}  // namespace ckpt
