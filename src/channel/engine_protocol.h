/// What differs between the engines' HTTP interfaces: routes, bodies, replies. One row an engine; no I/O here.
#pragma once

#include <string>
#include <string_view>

#include "channel/engine_driver.h"
#include "channel/http_call.h"
#include "ckpt/result.h"

namespace ckpt {

struct EngineProtocol {
  EngineKind kind;
  std::string_view ready_path;   ///< GET, 200 as soon as an update can be taken (LMDeploy: as soon as its body can be judged)
  std::string_view update_path;  ///< POST
  std::string_view not_found_advice;
};

/// The row of `kind`. internal: `automatic` has none.
[[nodiscard]] Result<EngineProtocol> engine_protocol(EngineKind kind);

/// Body of the update call. vLLM is given no time-out of its own: after one its replies are mixed up. Our deadlines end the session, hence the call.
[[nodiscard]] std::string update_body(EngineKind kind, const UpdateRequest& request);

/// The reply to the update call as a status: ok only for 2xx whose body says success. `what` names method and URL.
/// Of a vLLM the body is judged by worker_results.h.
///   401, 403 failed_precondition · 404 not_found · 409 failed_precondition · 501 unsupported · 503 unavailable · else remote_error with its text
[[nodiscard]] Status judge_update_reply(const EngineProtocol& protocol, std::string_view what, const HttpReply& reply);

/// An HTTP status that is not what was hoped for, with the text of the body. Never ok.
[[nodiscard]] Status refusal(std::string_view what, const HttpReply& reply, std::string_view not_found_advice);

/// Route that tells an engine apart, in the order in which `--engine auto` asks.
struct EngineProbe {
  EngineKind kind;
  std::string_view path;
  std::string_view expected;  ///< text that the JSON object in a 200 reply holds
};
inline constexpr EngineProbe kEngineProbes[] = {
    {EngineKind::ckpt, "/weights", "\"workers\""},
    {EngineKind::lmdeploy, "/update_weights_from_ipc", "\"ready\""},
    {EngineKind::sglang, "/model_info", ""},
    {EngineKind::vllm, "/version", "\"version\""},
};
/// Whether `reply` to the probe's route means that the engine is of the probe's kind.
[[nodiscard]] bool recognises(const EngineProbe& probe, const HttpReply& reply);

}  // namespace ckpt
