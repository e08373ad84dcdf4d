/// Holding an engine's requests while its weights change: the routes that vLLM has for it. Engines of other kinds hold theirs by themselves.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "channel/http_call.h"
#include "ckpt/result.h"

namespace ckpt {

/// POSTs `body` (may be empty) to the engine's `path`.
using EnginePost = std::function<Result<HttpReply>(const std::string& path, const std::string& body)>;

/// Whether the reply to GET /is_paused says that requests are held already. False too of an engine without the route.
[[nodiscard]] bool says_paused(const Result<HttpReply>& reply);

/// Requests stop where they are, new ones wait. False: an engine without the route, said in `notes`. failed_precondition: 401; remote_error: any
/// other answer.
[[nodiscard]] Result<bool> hold_requests(const EnginePost& post, std::vector<std::string>& notes);

/// While its weights change an engine tells no version: an empty one. Returns what it told before; none: it has no such routes, or told none.
[[nodiscard]] Result<std::optional<std::string>> forget_version(const Result<HttpReply>& weight_info, const EnginePost& post);
/// It tells `version` again: its weights have not changed.
[[nodiscard]] Status restore_version(const EnginePost& post, const std::string& version);

/// What an engine is told when its weights have changed, while its requests are held: nothing cached under the old weights is used any more, and the
/// version is `version` (empty: not told). Routes that it lacks are said in `notes`.
[[nodiscard]] Status announce_weights(const EnginePost& post, const std::string& version, std::vector<std::string>& notes);

/// Requests go on.
[[nodiscard]] Status let_requests_go_on(const EnginePost& post);

}  // namespace ckpt
