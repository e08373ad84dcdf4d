#include "channel/engine_hold.h"

#include <nlohmann/json.hpp>

#include "channel/engine_protocol.h"

namespace ckpt {
namespace {

// True: done. False: the engine has no such route, or says that it did not do it: noted as `lack`.
Result<bool> post_to_optional_route(const EnginePost& post, const std::string& path, const std::string& body, std::string_view lack,
                                    std::vector<std::string>& notes) {
  CKPT_ASSIGN_OR_RETURN(const HttpReply reply, post(path, body));
  if (reply.is_2xx()) {
    const nlohmann::json document = nlohmann::json::parse(reply.body, nullptr, false);
    if (!document.is_object() || document.find("success") == document.end() || document["success"] != false) return true;
    notes.push_back(fmt::format("POST {} did not succeed: {}", path, lack));
    return false;
  }
  if (reply.status != 404) return refusal("POST " + path, reply, "");
  notes.push_back(fmt::format("the engine has no {}: {}", path.substr(0, path.find('?')), lack));
  return false;
}

Result<bool> tell_version(const EnginePost& post, const std::string& version, std::vector<std::string>& notes) {
  return post_to_optional_route(post, "/update_weight_version", nlohmann::json{{"new_version", version}}.dump(), "it does not tell its version",
                                notes);
}

// Null where the engine has no such route, or its reply no such field.
nlohmann::json field_of(const Result<HttpReply>& reply, const char* name) {
  if (!reply.ok() || reply->status != 200) return nullptr;
  const nlohmann::json document = nlohmann::json::parse(reply->body, nullptr, false);
  return document.is_object() ? document.value(name, nlohmann::json()) : nlohmann::json();
}

}  // namespace

bool says_paused(const Result<HttpReply>& reply) { return field_of(reply, "is_paused") == true; }

Result<bool> hold_requests(const EnginePost& post, std::vector<std::string>& notes) {
  return post_to_optional_route(post, "/pause?mode=keep", "", "requests were not held while its weights changed", notes);
}

Result<std::optional<std::string>> forget_version(const Result<HttpReply>& weight_info, const EnginePost& post) {
  const nlohmann::json field = field_of(weight_info, "weight_version");
  std::string told = field.is_string() ? field.get<std::string>() : "";
  if (told.empty()) return std::optional<std::string>();
  CKPT_RETURN_IF_ERROR(restore_version(post, ""));
  return std::optional<std::string>(std::move(told));
}

Status restore_version(const EnginePost& post, const std::string& version) {
  std::vector<std::string> unsaid;  // of an engine that lacks the route its next version says so
  return tell_version(post, version, unsaid).status();
}

Status announce_weights(const EnginePost& post, const std::string& version, std::vector<std::string>& notes) {
  CKPT_RETURN_IF_ERROR(
      post_to_optional_route(post, "/reset_prefix_cache?reset_running_requests=true", "", "what it cached under the old weights stays", notes)
          .status());
  if (version.empty()) return Status::success();
  return tell_version(post, version, notes).status();
}

Status let_requests_go_on(const EnginePost& post) {
  CKPT_ASSIGN_OR_RETURN(const HttpReply reply, post("/resume", ""));
  return reply.is_2xx() ? Status::success() : refusal("POST /resume", reply, "");
}

}  // namespace ckpt
