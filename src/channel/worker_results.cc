#include "channel/worker_results.h"

#include <nlohmann/json.hpp>
#include <set>

namespace ckpt {
namespace {

using nlohmann::json;

constexpr const char* kOwnKey = "ckpt_engine";

std::string text_of(const json& said, const char* key) {
  const auto found = said.find(key);
  return found != said.end() && found->is_string() ? found->get<std::string>() : "";
}

EngineWeights weights_from_name(std::string_view name) {
  if (name == "old") return EngineWeights::old_ones;
  if (name == "new") return EngineWeights::new_ones;
  return name == "torn" ? EngineWeights::torn : EngineWeights::unknown;
}

// What all say, if they agree; workers with old and workers with new weights are a torn engine.
EngineWeights together(EngineWeights all, EngineWeights one, bool first) {
  if (first || all == one) return one;
  return all == EngineWeights::unknown || one == EngineWeights::unknown ? EngineWeights::unknown : EngineWeights::torn;
}

Status of_another_call(std::string_view what, std::size_t worker, std::string_view session) {
  return Status(StatusCode::remote_error, Scope::peer, "{}: the reply of worker {} belongs to another call ({}): the engine has mixed up its replies",
                what, worker, session.empty() ? "it names none" : session)
      .advise("restart the engine: every later reply of that worker will be the one before");
}

}  // namespace

WorkerResults judge_worker_results(std::string_view what, std::string_view body, const std::map<std::string, std::string>& addresses) {
  const json document = json::parse(body, nullptr, false);
  const auto results = document.is_object() ? document.find("results") : document.end();
  if (!document.is_object() || results == document.end() || !results->is_array())
    return {{StatusCode::remote_error, Scope::peer, "{}: the body has no \"results\": {}", what, body.substr(0, body.find('\n'))}};
  const auto ours = [](const json& one) { return one.is_object() && one.contains(kOwnKey) && one[kOwnKey].is_object(); };
  if (std::none_of(results->begin(), results->end(), ours)) return {};
  std::set<std::string> open;
  for (const auto& [key, address] : addresses) open.insert(address);
  WorkerResults judged;
  bool left_held = false;
  for (std::size_t worker = 0; worker < results->size(); ++worker) {
    const json& one = (*results)[worker];
    const json said = ours(one) ? one[kOwnKey] : json::object();
    const std::string session = text_of(said, "session");
    const std::string error = text_of(said, "error");
    if (open.erase(session) == 0) return {of_another_call(what, worker, session)};
    left_held = left_held || said.value("left_held", json()) != false;
    judged.weights = together(judged.weights, weights_from_name(text_of(said, "weights")), worker == 0);
    if (!error.empty() && judged.status.ok()) judged.status = {StatusCode::remote_error, Scope::peer, "{}: worker {}: {}", what, worker, error};
  }
  judged.pause_is_others = !left_held;
  return judged;
}

}  // namespace ckpt
