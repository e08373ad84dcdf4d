// The C functions of the parameter server: arguments read and checked here, work done on the server's thread.
#include <map>

#include "base/bytes.h"
#include "capi/error.h"
#include "capi/json_arguments.h"
#include "capi/server.h"
#include "capi/settings_json.h"

namespace ckpt::capi {
namespace {

/// What RANK and its like say, with what the caller says in their place.
Result<std::optional<LauncherEnvironment>> place_of(const char* text) {
  CKPT_ASSIGN_OR_RETURN(JsonArguments arguments, JsonArguments::parse(text, "place", {"rank", "world_size", "master_addr", "master_port"}));
  std::map<std::string, std::string, std::less<>> given;
  if (arguments.has("rank")) given["RANK"] = std::to_string(arguments.count("rank", 0));
  if (arguments.has("world_size")) given["WORLD_SIZE"] = std::to_string(arguments.count("world_size", 1));
  if (arguments.has("master_addr")) given["MASTER_ADDR"] = arguments.text("master_addr");
  if (arguments.has("master_port")) given["MASTER_PORT"] = std::to_string(arguments.count("master_port", 0));
  CKPT_RETURN_IF_ERROR(arguments.status());
  const bool own_store = given.contains("MASTER_ADDR") || given.contains("MASTER_PORT");
  return read_launcher_environment([&](const char* variable) -> std::optional<std::string> {
    if (const auto found = given.find(variable); found != given.end()) return found->second;
    if (own_store && std::string_view(variable) == "CKPT_STORE_ADDRESS") return std::nullopt;
    return environment(variable);
  });
}

Result<UpdateTarget> target_of(const char* text) {
  CKPT_ASSIGN_OR_RETURN(JsonArguments arguments, JsonArguments::parse(text, "target",
                                                                      {"endpoints", "engine", "inference_parallel_size", "weight_version", "uds",
                                                                       "dialect", "keep_slots", "ranks"}));
  UpdateTarget target;
  target.endpoints = arguments.texts("endpoints");
  target.inference_parallel_size = arguments.count("inference_parallel_size", 1);
  target.weight_version = arguments.text("weight_version");
  target.unix_socket = arguments.text("uds");
  target.keep_slots = arguments.flag("keep_slots", false);
  target.ranks = arguments.counts("ranks");
  const auto engine = engine_kind_from_name(arguments.text("engine", "auto"));
  const auto dialect = dialect_from_name(arguments.text("dialect", "auto"));
  CKPT_RETURN_IF_ERROR(arguments.status());
  if (!target.endpoints.empty() && !target.ranks.empty())
    return Status(StatusCode::invalid_argument, Scope::operation, "target has \"endpoints\" and \"ranks\": ranks are chosen where the caller asks");
  if (!engine || !dialect || target.inference_parallel_size == 0)
    return Status(StatusCode::invalid_argument, Scope::operation,
                  "target names an engine, a dialect or an inference_parallel_size that there is not");
  target.engine = *engine;
  target.dialect = *dialect;
  return target;
}

Result<MemoryTensor> tensor_of(const ckpt_tensor& given) {
  MemoryTensor tensor;
  tensor.parameter.name = given.name != nullptr ? given.name : "";
  const auto dtype = dtype_from_name(given.dtype != nullptr ? given.dtype : "");
  if (!dtype)
    return Status(StatusCode::invalid_argument, Scope::operation, "tensor {}: {} is no dtype of safetensors", tensor.parameter.name,
                  given.dtype != nullptr ? given.dtype : "none");
  tensor.parameter.dtype = *dtype;
  if (given.num_dimensions > 0) tensor.parameter.shape.assign(given.shape, given.shape + given.num_dimensions);
  tensor.parameter.bytes = given.bytes;
  tensor.on_device = given.on_device != 0;
  tensor.bytes = {static_cast<const std::byte*>(given.data), given.bytes};
  return tensor;
}

Result<CheckpointSource> source_of(const ckpt_source& given) {
  CheckpointSource source;
  if (given.directory != nullptr) source.directory = given.directory;
  for (std::uint32_t i = 0; i < given.num_files; ++i) source.files.emplace_back(given.files[i]);
  for (std::uint32_t i = 0; i < given.num_tensors; ++i) {
    CKPT_ASSIGN_OR_RETURN(MemoryTensor tensor, tensor_of(given.tensors[i]));
    source.tensors.push_back(std::move(tensor));
  }
  if (!source.directory.empty() && (!source.files.empty() || !source.tensors.empty()))
    return Status(StatusCode::invalid_argument, Scope::operation, "give a directory, or files and tensors of this rank's own");
  return source;
}

Result<RegisterOptions> register_options_of(const char* text) {
  CKPT_ASSIGN_OR_RETURN(JsonArguments arguments, JsonArguments::parse(text, "options", {"verify", "adopt"}));
  const RegisterOptions options{arguments.flag("verify", false), arguments.flag("adopt", false)};
  CKPT_RETURN_IF_ERROR(arguments.status());
  return options;
}

std::int32_t start(ckpt_server* server, std::uint32_t timeout_ms, ckpt_server::Work work, ckpt_operation** operation, ckpt_error** error) {
  Result<std::unique_ptr<ckpt_operation>> started = server->start(std::chrono::milliseconds(timeout_ms), std::move(work));
  if (started.ok()) *operation = started->release();
  return hand_out(started.status(), error);
}

using RankWork = std::function<Status(ParameterServer& rank, ckpt_operation& operation)>;

ckpt_server::Work on_rank(ckpt_server* server, RankWork work) {
  return [server, work = std::move(work)](ckpt_operation& operation) -> Result<std::string> {
    CKPT_ASSIGN_OR_RETURN(ParameterServer * rank, server->rank());
    CKPT_RETURN_IF_ERROR(work(*rank, operation));
    return std::string();
  };
}

/// While it lives, a caller who gives up ends the operation of all ranks: they wait for this one.
AbortLink end_with(const ckpt_operation& operation, Group& group) {
  return AbortLink(operation.stop, [&group](const Status& reason) { group.abort(reason.at_rank(static_cast<int>(group.rank()))); });
}

using UpdateWork = std::function<Result<UpdateReport>(ParameterServer& rank, const UpdateTarget& to, ckpt_operation& operation)>;

/// One update of engines, of whichever checkpoint. Its text is the report.
std::int32_t start_update(ckpt_server* server, const char* target, std::uint32_t timeout_ms, UpdateWork update, ckpt_operation** operation,
                          ckpt_error** error) {
  Result<UpdateTarget> to = target_of(target);
  if (!to.ok()) return hand_out(to.status(), error);
  auto work = [server, update = std::move(update), to = std::move(to).value()](ckpt_operation& running) mutable -> Result<std::string> {
    CKPT_ASSIGN_OR_RETURN(ParameterServer * rank, server->rank());
    if (to.endpoints.empty()) to.caller = &running.desk;
    const AbortLink link = end_with(running, rank->group());
    CKPT_ASSIGN_OR_RETURN(const UpdateReport report, update(*rank, to, running));
    return report_json(report);
  };
  return start(server, timeout_ms, std::move(work), operation, error);
}

}  // namespace
}  // namespace ckpt::capi

using namespace ckpt;        // NOLINT(google-build-using-namespace): the C functions below are of no namespace
using namespace ckpt::capi;  // NOLINT(google-build-using-namespace)

std::int32_t ckpt_server_create(const char* settings, ckpt_server** server, ckpt_error** error) {
  Result<Settings> read = settings_from_json(settings);
  if (!read.ok()) return hand_out(read.status(), error);
  Result<std::unique_ptr<ckpt_server>> made = ckpt_server::create(std::move(read).value());
  if (made.ok()) *server = made->release();
  return hand_out(made.status(), error);
}

void ckpt_server_free(ckpt_server* server) { delete server; }

std::int32_t ckpt_server_join_start(ckpt_server* server, const char* place, std::uint32_t timeout_ms, ckpt_operation** operation,
                                    ckpt_error** error) {
  Result<std::optional<LauncherEnvironment>> read = place_of(place);
  if (!read.ok()) return hand_out(read.status(), error);
  return start(
      server, timeout_ms, [server, where = *std::move(read)](ckpt_operation& running) { return server->join(where, running); }, operation, error);
}

std::int32_t ckpt_server_leave_start(ckpt_server* server, std::uint32_t timeout_ms, ckpt_operation** operation, ckpt_error** error) {
  return start(server, timeout_ms, [server](ckpt_operation& running) { return server->leave(running); }, operation, error);
}

std::int32_t ckpt_server_register_start(ckpt_server* server, const char* name, const ckpt_source* source, const char* options,
                                        std::uint32_t timeout_ms, ckpt_operation** operation, ckpt_error** error) {
  Result<CheckpointSource> from = source_of(*source);
  if (!from.ok()) return hand_out(from.status(), error);
  const Result<RegisterOptions> how = register_options_of(options);
  if (!how.ok()) return hand_out(how.status(), error);
  auto work = [checkpoint = std::string(name), from = std::move(from).value(), how = *how](ParameterServer& rank, ckpt_operation& running) {
    return rank.register_checkpoint(checkpoint, from, how, running.deadline, running.stop);
  };
  return start(server, timeout_ms, on_rank(server, std::move(work)), operation, error);
}

std::int32_t ckpt_server_unregister(ckpt_server* server, const char* name, std::int32_t free_memory, ckpt_error** error) {
  const Result<std::string> done = server->run(on_rank(server, [&](ParameterServer& rank, ckpt_operation&) {
    CKPT_RETURN_IF_ERROR(rank.unregister_checkpoint(name));
    if (free_memory != 0) rank.free_unused_memory();
    return Status::success();
  }));
  return hand_out(done.status(), error);
}

std::int32_t ckpt_server_forget_versions(ckpt_server* server, ckpt_error** error) {
  const Result<std::string> done = server->run(on_rank(server, [](ParameterServer& rank, ckpt_operation&) {
    rank.forget_kept_versions();
    rank.free_unused_memory();
    return Status::success();
  }));
  return hand_out(done.status(), error);
}

std::int32_t ckpt_server_gather_metas_start(ckpt_server* server, const char* name, std::uint32_t timeout_ms, ckpt_operation** operation,
                                            ckpt_error** error) {
  auto work = [checkpoint = std::string(name)](ParameterServer& rank, ckpt_operation& running) {
    const AbortLink link = end_with(running, rank.group());
    const Status gathered = rank.gather_metas(checkpoint, running.deadline, running.stop);
    return end_where_failed(rank.group(), gathered, ckpt::name(Stage::gather));
  };
  return start(server, timeout_ms, on_rank(server, std::move(work)), operation, error);
}

std::int32_t ckpt_server_metas(ckpt_server* server, const char* name, const char** json, ckpt_error** error) {
  Result<std::string> metas = server->run([&](ckpt_operation&) -> Result<std::string> {
    CKPT_ASSIGN_OR_RETURN(const ParameterServer* rank, server->rank());
    return rank->metas_json(name);
  });
  if (!metas.ok()) return hand_out(metas.status(), error);
  server->metas = std::move(metas).value();
  *json = server->metas.c_str();
  return 0;
}

std::int32_t ckpt_server_update_start(ckpt_server* server, const char* name, const char* target, std::uint32_t timeout_ms, ckpt_operation** operation,
                                      ckpt_error** error) {
  auto update = [checkpoint = std::string(name)](ParameterServer& rank, const UpdateTarget& to, ckpt_operation& running) {
    return rank.update(checkpoint, to, running.deadline, running.stop);
  };
  return start_update(server, target, timeout_ms, std::move(update), operation, error);
}

std::int32_t ckpt_server_rollback_start(ckpt_server* server, const char* target, std::uint32_t timeout_ms, ckpt_operation** operation,
                                        ckpt_error** error) {
  auto back = [](ParameterServer& rank, const UpdateTarget& to, ckpt_operation& running) {
    return rank.roll_back(to, running.deadline, running.stop);
  };
  return start_update(server, target, timeout_ms, std::move(back), operation, error);
}

std::int32_t ckpt_server_barrier_start(ckpt_server* server, const char* name, std::uint32_t timeout_ms, ckpt_operation** operation,
                                       ckpt_error** error) {
  auto work = [what = std::string(name)](ParameterServer& rank, ckpt_operation& running) {
    const AbortLink link = end_with(running, rank.group());
    return rank.barrier(what, running.deadline, running.stop);
  };
  return start(server, timeout_ms, on_rank(server, std::move(work)), operation, error);
}
