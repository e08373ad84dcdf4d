#include "channel/engine_protocol.h"

#include <array>
#include <nlohmann/json.hpp>

namespace ckpt {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxErrorText = 4096;

constexpr std::array<std::string_view, 5> kKindNames{"auto", "vllm", "sglang", "lmdeploy", "ckpt"};

constexpr EngineProtocol kProtocols[] = {
    {EngineKind::vllm, "/health", "/collective_rpc", "start the server with VLLM_SERVER_DEV_MODE=1 in its environment"},
    {EngineKind::sglang, "/ping", "/update_weights_from_ipc", "is this an SGLang server, and new enough for /update_weights_from_ipc?"},
    {EngineKind::lmdeploy, "/update_weights_from_ipc", "/update_weights_from_ipc",
     "is this an LMDeploy server, and new enough for /update_weights_from_ipc?"},
    {EngineKind::ckpt, "/ping", "/update_weights_from_ipc", "is this a ckpt-engine engine?"},
};

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

// The engine's own words: `message` (SGLang, ours) or `detail` (vLLM) of a JSON object, else the body as it is.
std::string error_text(const HttpReply& reply) {
  const json document = json::parse(reply.body, nullptr, false);
  std::string text = reply.body;
  if (document.is_object())
    for (const char* key : {"message", "detail", "error"})
      if (const auto found = document.find(key); found != document.end()) {
        text = found->is_string() ? found->get<std::string>() : found->dump(-1, ' ', false, json::error_handler_t::replace);
        break;
      }
  if (text.size() > kMaxErrorText) text = text.substr(0, kMaxErrorText) + " …";
  return text.empty() ? "no text" : text;
}

}  // namespace

std::string_view name(EngineKind kind) { return kKindNames[static_cast<std::size_t>(kind)]; }

std::optional<EngineKind> engine_kind_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kKindNames.size(); ++i)
    if (kKindNames[i] == name) return static_cast<EngineKind>(i);
  return std::nullopt;
}

Result<EngineProtocol> engine_protocol(EngineKind kind) {
  for (const EngineProtocol& row : kProtocols)
    if (row.kind == kind) return row;
  return Status(StatusCode::internal, Scope::operation, "engines of kind {} have no routes", name(kind));
}

std::string update_body(EngineKind kind, const UpdateRequest& request) {
  json body;
  if (kind == EngineKind::vllm) {
    body = {{"method", "update_weights_from_ipc"}, {"args", json::array({request.addresses})}, {"kwargs", json::object()}};
  } else if (kind == EngineKind::lmdeploy) {
    body = {{"zmq_handles", request.addresses}};
  } else {
    body = {{"zmq_handles", request.addresses}, {"flush_cache", true}};
    body["weight_version"] = request.weight_version.empty() ? json(nullptr) : json(request.weight_version);
  }
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

Status refusal(std::string_view what, const HttpReply& reply, std::string_view not_found_advice) {
  const std::string text = error_text(reply);
  switch (reply.status) {
    case 401:
    case 403:
      return Status(StatusCode::failed_precondition, Scope::operation, "{}: {}: {}", what, reply.status, text)
          .advise("the engine wants its key: give it with --api-key or CKPT_API_KEY");
    case 404: return Status(StatusCode::not_found, Scope::operation, "{}: 404: {}", what, text).advise(not_found_advice);
    case 409: return {StatusCode::failed_precondition, Scope::operation, "{}: 409: {}", what, text};
    case 501: return {StatusCode::unsupported, Scope::operation, "{}: 501: {}", what, text};
    case 503: return {StatusCode::unavailable, Scope::peer, "{}: 503: {}", what, text};
    default: return {StatusCode::remote_error, Scope::peer, "{}: {}: {}", what, reply.status, text};
  }
}

Status judge_update_reply(const EngineProtocol& protocol, std::string_view what, const HttpReply& reply) {
  if (!reply.is_2xx()) return refusal(what, reply, protocol.not_found_advice);
  if (reply.truncated) return {StatusCode::remote_error, Scope::peer, "{}: {}: the reply is longer than any engine's", what, reply.status};
  if (protocol.kind == EngineKind::vllm && reply.body.empty()) return Status::success();  // older servers answer so
  const json document = json::parse(reply.body, nullptr, false);
  const char* key = protocol.kind == EngineKind::vllm ? "results" : "success";
  if (!document.is_object() || !document.contains(key))
    return {StatusCode::remote_error, Scope::peer, "{}: {}, but the body has no \"{}\": {}", what, reply.status, key, first_line(error_text(reply))};
  if (protocol.kind == EngineKind::vllm || document[key] == true) return Status::success();
  return {StatusCode::remote_error, Scope::peer, "{}: {}, but the body says that it failed: {}", what, reply.status, error_text(reply)};
}

bool recognises(const EngineProbe& probe, const HttpReply& reply) {
  const std::size_t begin = reply.body.find_first_not_of(" \t\r\n");  // not parsed: the reply to /weights may be long, and cut
  return reply.status == 200 && begin != std::string::npos && reply.body[begin] == '{' && reply.body.find(probe.expected) != std::string::npos;
}

}  // namespace ckpt
