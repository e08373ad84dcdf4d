#include "holder/control_messages.h"

#include <nlohmann/json.hpp>
#include <optional>

namespace ckpt {

using nlohmann::json;

static void to_json(json& out, const Status& status) {
  out = {{"code", name(status.code())},
         {"scope", name(status.scope())},
         {"message", status.message()},
         {"stage", status.stage()},
         {"advice", status.advice()}};
  if (status.rank()) out["rank"] = *status.rank();
}

static void from_json(const json& in, Status& status) {
  const StatusCode code = status_code_from_name(in.at("code").get<std::string>()).value_or(StatusCode::internal);
  const Scope scope = scope_from_name(in.at("scope").get<std::string>()).value_or(Scope::operation);
  status = Status::of(code, scope, in.at("message"));
  if (const std::string stage = in.at("stage"); !stage.empty()) status = status.at_stage(stage);
  if (const std::string advice = in.at("advice"); !advice.empty()) status = status.advise(advice);
  if (in.contains("rank")) status = status.at_rank(in["rank"]);
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Hello, rank, tp, model_bytes, arena_in_place)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StageUpdate, update, address, arena, timeout_ns, heartbeat_interval_ns, heartbeat_timeout_ns)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AbortUpdate, update, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Commit, update, arena)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Ready, status)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(UpdateOutcome, update, status, touched_arena, bytes, receive_seconds, apply_seconds, prepare_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Committed, update)
static void to_json(json& out, const Ping&) { out = nullptr; }
static void from_json(const json&, Ping&) {}
static void to_json(json& out, const Pong&) { out = nullptr; }
static void from_json(const json&, Pong&) {}

namespace {

// Reads alternative number `index` of `Variant` out of `body`.
template <typename Variant, std::size_t I = 0>
std::optional<Variant> read_alternative(std::size_t index, const json& body) {
  if constexpr (I < std::variant_size_v<Variant>) {
    if (index == I) return Variant(body.get<std::variant_alternative_t<I, Variant>>());
    return read_alternative<Variant, I + 1>(index, body);
  } else {
    return std::nullopt;
  }
}

template <typename Variant>
std::string encode_variant(const Variant& message) {
  json body;
  std::visit([&body](const auto& alternative) { body = alternative; }, message);
  return json::array({message.index(), std::move(body)}).dump(-1, ' ', false, json::error_handler_t::replace);
}

template <typename Variant>
Result<Variant> decode_variant(std::string_view text) {
  try {
    const json document = json::parse(text);
    if (std::optional<Variant> message = read_alternative<Variant>(document.at(0).get<std::size_t>(), document.at(1))) return std::move(*message);
    return Status(StatusCode::internal, Scope::process, "a control message of an unknown kind");
  } catch (const json::exception& error) {
    return Status(StatusCode::internal, Scope::process, "a control message that cannot be read: {}", error.what());
  }
}

}  // namespace

std::string encode(const FrontMessage& message) { return encode_variant(message); }
std::string encode(const WorkerMessage& message) { return encode_variant(message); }
Result<FrontMessage> decode_front_message(std::string_view text) { return decode_variant<FrontMessage>(text); }
Result<WorkerMessage> decode_worker_message(std::string_view text) { return decode_variant<WorkerMessage>(text); }

}  // namespace ckpt
