#include "cli/update_rank.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/fault_point.h"
#include "base/log.h"
#include "cli/progress.h"
#include "cli/update_report_text.h"
#include "os/abort_relay.h"
#include "os/error.h"
#include "os/wait_fd.h"
#include "server/joined_group.h"
#include "server/parameter_server.h"

namespace ckpt {
namespace {

Status write_trace(ParameterServer& server, const std::string& path, Deadline deadline) {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  const std::string fragment = trace_fragment({static_cast<int>(server.group().rank()), host, EventRecorder::global().events()});
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, server.group().all_gather("timeline", to_bytes(fragment), deadline));
  if (server.group().rank() != 0) return Status::success();
  std::vector<std::string> fragments;
  for (const Bytes& one : all) fragments.emplace_back(as_text(one));
  return write_file(path, trace_document(fragments));
}

/// That it can be read, from its headers: before anything is changed, not when it is needed.
Status check_rollback_path(const std::string& path) {
  if (path.empty()) return Status::success();
  const Result<Checkpoint> checkpoint = open_checkpoint(path);
  return (checkpoint.ok() ? check_engines_take(*checkpoint) : checkpoint.status()).with_note("--rollback-path");
}

/// Registration is local; its outcome is agreed, so that one bad file ends all ranks with the same error.
Status load(ParameterServer& server, const UpdateArguments& arguments, Deadline deadline, const AbortSignal& abort) {
  Status loaded = check_rollback_path(arguments.rollback_path);
  if (loaded.ok())
    loaded = server.register_checkpoint(arguments.checkpoint_name, {arguments.checkpoint_path}, {arguments.verify, arguments.adopt}, deadline, abort);
  CKPT_RETURN_IF_ERROR(end_where_failed(server.group(), loaded.ok() ? abort.check() : loaded, name(Stage::load)));
  return server.group().agree("load", Status::success(), deadline).at_stage("load");
}

/// Loaded and told to all ranks.
Status hold(ParameterServer& server, const UpdateArguments& arguments, Deadline deadline, const AbortSignal& abort) {
  CKPT_RETURN_IF_ERROR(load(server, arguments, deadline, abort));
  return end_where_failed(server.group(), server.gather_metas(arguments.checkpoint_name, deadline, abort), name(Stage::gather));
}

Status update(ParameterServer& server, const UpdateArguments& arguments, const CommonOptions& common, Deadline deadline, const AbortSignal& abort) {
  CKPT_RETURN_IF_ERROR(hold(server, arguments, deadline, abort));
  const bool first = server.group().rank() == 0;
  if (first && !arguments.save_metas_file.empty()) {
    CKPT_ASSIGN_OR_RETURN(const std::string metas, server.metas_json(arguments.checkpoint_name));
    CKPT_RETURN_IF_ERROR(write_file(arguments.save_metas_file, metas).at_stage("gather"));
  }
  CKPT_ASSIGN_OR_RETURN(const UpdateReport report,
                        server.update(arguments.checkpoint_name, target_of(arguments, server.group().size()), deadline, abort));
  if (!arguments.trace_file.empty()) CKPT_RETURN_IF_ERROR(write_trace(server, arguments.trace_file, deadline));
  if (first && (common.json || !common.quiet)) {
    const StageLimits limits = measure_limits();
    std::fputs((common.json ? report_json(report, limits.memcpy_rate) + "\n" : report_text(report, limits)).c_str(), stdout);
  }
  if (arguments.sleep_time_s > 0) CKPT_RETURN_IF_ERROR(pause_for(Duration(static_cast<std::int64_t>(arguments.sleep_time_s * 1e9)), abort));
  return Status::success();
}

/// Sends the version before. What was registered goes first: its memory takes the next.
Status send_back(ParameterServer& server, const UpdateArguments& arguments, Deadline deadline, const AbortSignal& interrupt) {
  CKPT_RETURN_IF_ERROR(server.barrier("before going back", deadline, interrupt));  // makes a new epoch of the ranks
  AbortSignal stop;
  const AbortRelay relay({&interrupt, &server.group().failed()}, [&stop](const Status& reason) { stop.trigger(reason); });
  CKPT_RETURN_IF_ERROR(server.unregister_checkpoint(arguments.checkpoint_name));
  const UpdateArguments back = arguments_to_go_back(arguments);
  CKPT_RETURN_IF_ERROR(hold(server, back, deadline, stop));
  return server.update(back.checkpoint_name, target_of(back, server.group().size()), deadline, stop).status();
}

/// After an update that failed while engines loaded: they get the version of --rollback-path. `failure`, with what became of that.
Status roll_back(ParameterServer& server, const UpdateArguments& arguments, bool first_of_host, const CommonOptions& common, const Status& failure,
                 Deadline deadline, const AbortSignal& interrupt) {
  const std::string version = arguments_to_go_back(arguments).weight_version;
  Status status = first_of_host ? free_waiting_workers(common.settings, deadline) : Status::success();
  if (status.ok()) status = send_back(server, arguments, deadline, interrupt);
  if (status.ok()) return failure.with_note("the engines are back at version {}, from {}", version, arguments.rollback_path);
  return failure.with_note("the engines may hold a mixture: going back to version {} failed ({})", version, status.message());
}

}  // namespace

Status write_file(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".new";
  std::FILE* file = std::fopen(unfinished.c_str(), "w");
  if (file == nullptr) return errno_status(errno, "write " + path);
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = std::fclose(file) == 0;
  if (written && closed && std::rename(unfinished.c_str(), path.c_str()) == 0) return Status::success();
  const int error = errno;
  std::remove(unfinished.c_str());
  return errno_status(error, "write " + path);
}

Status run_update_rank(const UpdateArguments& arguments, const CommonOptions& common, const std::optional<LauncherEnvironment>& place,
                       Deadline deadline, const AbortSignal& interrupt) {
  const std::uint32_t rank = place ? place->rank : 0;
  if (place) set_log_prefix(fmt::format("rank {}", rank));
  if (!arguments.trace_file.empty()) EventRecorder::global().keep_all(true);
  CKPT_FAULT_POINT("rank.begin");
  CKPT_ASSIGN_OR_RETURN(JoinedGroup joined, join_as_rank(common.settings, place, deadline, interrupt));
  Group& group = *joined.group;
  const bool silent = rank != 0 || common.quiet || common.json;
  auto progress = std::make_unique<Progress>(silent ? Progress::Mode::silent : on_terminal() ? Progress::Mode::bars : Progress::Mode::lines);
  CKPT_ASSIGN_OR_RETURN(const auto server, ParameterServer::create(std::move(joined.group), common.settings,
                                                                   [&progress](Stage stage, std::uint64_t done, std::uint64_t total) {
                                                                     progress->update(stage, done, total);
                                                                   }));
  // Ctrl-C here, or the end of the group, ends the waits of loading too. After the server: it owns the group, which the relay watches.
  AbortSignal stop;
  const AbortRelay relay({&interrupt, &group.failed()}, [&stop](const Status& reason) { stop.trigger(reason); });
  Status status = update(*server, arguments, common, deadline, stop);
  if (!status.ok() && server->engines_may_be_torn() && !arguments.rollback_path.empty())
    status = roll_back(*server, arguments, !place || place->local_rank == 0, common, status, deadline, interrupt);
  if (status.ok() || joined.store) static_cast<void>(group.leave(Deadline::after(std::chrono::seconds(2))));
  static_cast<void>(let_others_leave(joined.store.get(), deadline, interrupt));
  return status;
}

}  // namespace ckpt
