#include "cli/update_arguments.h"

namespace ckpt {
namespace {

Status unsupported(std::string_view what, std::string_view sentence) { return {StatusCode::unsupported, Scope::operation, "{}: {}", what, sentence}; }

}  // namespace

Status check_arguments(const UpdateArguments& a) {
  if (a.update_method == "p2p" || a.update_method == "all")
    return unsupported("--update-method " + a.update_method, "reads out of other ranks' pools are not offered yet; use broadcast");
  if (a.update_method != "broadcast")
    return {StatusCode::invalid_argument, Scope::operation, "--update-method {}: give broadcast, p2p or all", a.update_method};
  if (!a.load_metas_file.empty())
    return unsupported("--load-metas-file", "updates from the metas of other processes are not offered yet; give --checkpoint-path");
  if (a.rollback_path.empty() && !a.rollback_version.empty())
    return {StatusCode::invalid_argument, Scope::operation, "--rollback-version {}: give --rollback-path too", a.rollback_version};
  if (a.keep_versions > 0)
    return unsupported("--keep-versions", "the command ends with its update, and its memory with it; --rollback-path DIR names the version before");
  if (a.checkpoint_path.empty()) return {StatusCode::invalid_argument, Scope::operation, "--checkpoint-path is needed"};
  const auto kind = engine_kind_from_name(a.engine);
  if (!kind && a.engine != "auto")
    return {StatusCode::invalid_argument, Scope::operation, "--engine {}: give auto, vllm, sglang, lmdeploy or ckpt", a.engine};
  if (a.dialect != "auto" && a.dialect != "1" && a.dialect != "2")
    return {StatusCode::invalid_argument, Scope::operation, "--dialect {}: give auto, 1 or 2", a.dialect};
  if (!a.unix_socket.empty() && a.endpoints.size() > 1)
    return {StatusCode::invalid_argument, Scope::operation, "--uds goes with one engine, and {} endpoints were given", a.endpoints.size()};
  return Status::success();
}

UpdateArguments arguments_to_go_back(const UpdateArguments& a) {
  UpdateArguments back = a;
  back.checkpoint_path = a.rollback_path;
  std::string_view path = a.rollback_path;
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  back.weight_version = a.rollback_version.empty() ? std::string(path.substr(path.rfind('/') + 1)) : a.rollback_version;
  back.checkpoint_name = back.weight_version;
  back.rollback_path.clear();
  return back;
}

UpdateTarget target_of(const UpdateArguments& a, std::uint32_t num_ranks) {
  UpdateTarget target;
  target.endpoints = a.endpoints;
  if (target.endpoints.empty()) target.endpoints = {"http://localhost:19730"};
  target.engine = engine_kind_from_name(a.engine).value_or(EngineKind::automatic);
  target.unix_socket = a.unix_socket;
  target.inference_parallel_size = a.inference_parallel_size == 0 ? num_ranks : a.inference_parallel_size;
  target.weight_version = a.weight_version;
  target.dialect = dialect_from_name(a.dialect).value_or(Dialect::automatic);
  target.keep_slots = a.keep_slots;
  return target;
}

}  // namespace ckpt
