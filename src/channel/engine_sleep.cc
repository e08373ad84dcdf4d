#include "channel/engine_sleep.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "channel/engine_protocol.h"

namespace ckpt {
namespace {

using nlohmann::json;

constexpr std::string_view kStateRoute = "/update_weights_from_ipc";

std::string told_text(const json& document, const char* key) {
  const auto found = document.find(key);
  return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool told_flag(const json& document, const char* key) {
  const auto found = document.find(key);
  return found != document.end() && found->is_boolean() && found->get<bool>();
}

std::vector<std::string> told_texts(const json& document, const char* key) {
  std::vector<std::string> texts;
  const auto found = document.find(key);
  if (found == document.end() || !found->is_array()) return texts;
  for (const json& one : *found)
    if (one.is_string()) texts.push_back(one.get<std::string>());
  return texts;
}

std::string or_none(std::string_view text) { return text.empty() ? "none" : std::string(text); }

std::string listed(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + text;
  return list;
}

/// Up to its first comma `versions` is one version: "0.4.2", "0.4.3rc0".
Dialect dialect_of_version(std::string_view version) {
  unsigned major = 0;
  unsigned minor = 0;
  const char* const end = version.data() + version.size();
  const auto [dot, error] = std::from_chars(version.data(), end, major);
  if (error != std::errc() || dot == end || *dot != '.') return Dialect::automatic;
  if (std::from_chars(dot + 1, end, minor).ec != std::errc()) return Dialect::automatic;
  return major == 0 && minor < 4 ? Dialect::one : Dialect::two;
}

Result<SleeperState> ask_state(const SleeperRoutes& engine) {
  CKPT_ASSIGN_OR_RETURN(const HttpReply reply, engine.get());
  return read_sleeper_state(engine.endpoint, reply);
}

}  // namespace

bool SleeperState::sleeps(std::string_view tag) const {
  return is_sleeping && std::find(sleeping_tags.begin(), sleeping_tags.end(), tag) != sleeping_tags.end();
}

Result<SleeperState> read_sleeper_state(std::string_view endpoint, const HttpReply& reply) {
  const std::string what = fmt::format("GET {}{}", endpoint, kStateRoute);
  if (reply.status != 200) return refusal(what, reply, "");
  const json document = json::parse(reply.body, nullptr, false);
  if (!document.is_object() || !document.contains("ready"))
    return Status(StatusCode::remote_error, Scope::peer, "{}: 200, but the body has no \"ready\"", what);
  SleeperState state;
  state.ready = told_flag(document, "ready");
  state.is_sleeping = told_flag(document, "is_sleeping");
  state.has_topology = !document.contains("world_size") || !document["world_size"].is_null();
  state.message = told_text(document, "message");
  state.backend = told_text(document, "backend");
  state.device_type = told_text(document, "device_type");
  state.package_version = told_text(document, "checkpoint_engine_version");
  state.sleeping_tags = told_texts(document, "sleeping_tags");
  state.device_uuids = told_texts(document, "device_uuids");
  if (const auto dp = document.find("dp"); dp != document.end() && dp->is_number_unsigned()) state.dp = dp->get<std::uint32_t>();
  return state;
}

Dialect dialect_of(const SleeperState& state) {
  std::string_view rest = state.package_version;
  const Dialect first = dialect_of_version(rest);
  for (std::size_t comma = rest.find(','); comma != std::string_view::npos; comma = rest.find(',')) {
    rest.remove_prefix(comma + 1);
    if (dialect_of_version(rest) != first) return Dialect::automatic;
  }
  return first;
}

Status check_sleeper(std::string_view endpoint, const SleeperState& state) {
  if (state.backend != "pytorch" || state.device_type != "cuda")
    return Status(StatusCode::unsupported, Scope::operation,
                  "engine {} (lmdeploy) has backend {} on device {}, and takes updates with pytorch on cuda only", endpoint, or_none(state.backend),
                  or_none(state.device_type))
        .advise("start it with --backend pytorch");
  if (state.package_version.empty() || state.device_uuids.empty() || !state.has_topology)
    return Status(StatusCode::failed_precondition, Scope::peer, "engine {} (lmdeploy) cannot receive: {}", endpoint, or_none(state.message))
        .advise("its workers need the package checkpoint-engine: pip install 'checkpoint-engine>=0.4'");
  if (state.sleeps("kv_cache") && !state.ready)
    return Status(StatusCode::failed_precondition, Scope::peer, "engine {} (lmdeploy) sleeps and is not ready for weights: {}", endpoint,
                  or_none(state.message))
        .advise("restart it");
  return Status::success();
}

Status check_sleepers_devices(std::string_view endpoint, const SleeperState& state, const UpdateRequest& request) {
  if (state.dp > request.num_engines)
    return Status(StatusCode::invalid_argument, Scope::operation,
                  "engine {} is one of {} servers (dp) that sleep and load together; this update has {}", endpoint, state.dp, request.num_engines)
        .advise("give every one's --endpoint");
  std::vector<std::string> lacking;
  for (const std::string& uuid : state.device_uuids)
    if (!request.addresses.contains(uuid)) lacking.push_back(uuid);
  if (!lacking.empty())
    return Status(StatusCode::invalid_argument, Scope::operation, "engine {} has workers on devices without a rank: {}", endpoint, listed(lacking))
        .advise("start one rank for each of its GPUs; --inference-parallel-size says how many it has");
  std::vector<std::string> idle;
  for (const auto& [key, address] : request.addresses)
    if (std::find(state.device_uuids.begin(), state.device_uuids.end(), key) == state.device_uuids.end()) idle.push_back(key);
  if (idle.empty()) return Status::success();
  return Status(StatusCode::invalid_argument, Scope::operation, "engine {} has no worker on the devices of these ranks: {}", endpoint, listed(idle))
      .advise("--inference-parallel-size says how many workers it has, --device-uuid which GPUs the ranks use");
}

Status put_to_sleep(const SleeperRoutes& engine, bool& asleep) {
  CKPT_ASSIGN_OR_RETURN(SleeperState state, ask_state(engine));
  CKPT_RETURN_IF_ERROR(check_sleeper(engine.endpoint, state));
  asleep = true;
  // One that sleeps is not told to again: its workers would wait for each other's next step, which does not come.
  const bool awake = !state.sleeps("kv_cache");
  if (awake) {
    CKPT_ASSIGN_OR_RETURN(const HttpReply reply, engine.post("/sleep?level=2", "{}"));
    if (!reply.is_2xx()) {
      asleep = reply.status == 500;  // it says that it sleeps before it tries to
      return refusal(fmt::format("POST {}/sleep?level=2", engine.endpoint), reply, "an LMDeploy with --backend pytorch has /sleep");
    }
  }
  if (awake || state.sleeps("weights")) {
    CKPT_ASSIGN_OR_RETURN(const HttpReply reply, engine.post("/wakeup?tags=weights", "{}"));
    if (!reply.is_2xx()) return refusal(fmt::format("POST {}/wakeup?tags=weights", engine.endpoint), reply, "");
  }
  CKPT_ASSIGN_OR_RETURN(state, ask_state(engine));
  if (state.ready) return Status::success();
  return {StatusCode::remote_error, Scope::peer, "engine {} (lmdeploy) was put to sleep and is not ready for weights: {}", engine.endpoint,
          or_none(state.message)};
}

Status wake_up(const SleeperRoutes& engine) {
  CKPT_ASSIGN_OR_RETURN(const HttpReply reply, engine.post("/wakeup?tags=kv_cache", "{}"));
  if (!reply.is_2xx()) return refusal(fmt::format("POST {}/wakeup?tags=kv_cache", engine.endpoint), reply, "");
  CKPT_ASSIGN_OR_RETURN(const SleeperState state, ask_state(engine));  // a 200 of /wakeup does not say that it did anything
  if (!state.is_sleeping) return Status::success();
  return {StatusCode::remote_error, Scope::peer, "engine {} (lmdeploy) sleeps on after /wakeup: {}", engine.endpoint, listed(state.sleeping_tags)};
}

}  // namespace ckpt
