/// What our own worker says in the reply to vLLM's update call: whose call it answers, and in which state the weights are.
///
///   {"results": [{"ckpt_engine": {"session": "ipc:///…", "error": null, "weights": "old"|"new"|"torn", "left_held": false}}, …]}    one a worker
///
/// vLLM's replies do not name the call they belong to, and one that was left behind is given to the next. The session's address is unguessable and
/// fresh, so it names the call. Workers that are not ours answer null, which says nothing.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "channel/engine_driver.h"
#include "ckpt/status.h"

namespace ckpt {

struct WorkerResults {
  Status status;                                   ///< ok, or what a worker says went wrong, or that a reply belongs to another call
  EngineWeights weights = EngineWeights::unknown;  ///< old or new only when every worker says the same
  bool pause_is_others = false;                    ///< every worker says that no update before this one left the engine held
};

/// `body`: of a 2xx reply. `addresses`: those of the call. remote_error: no "results", a worker's error, replies of another call.
[[nodiscard]] WorkerResults judge_worker_results(std::string_view what, std::string_view body, const std::map<std::string, std::string>& addresses);

}  // namespace ckpt
