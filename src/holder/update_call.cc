#include "holder/update_call.h"

#include <nlohmann/json.hpp>

namespace ckpt {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxVersion = 256;

Status bad(std::string_view what) { return {StatusCode::invalid_argument, Scope::operation, "request body: {}", what}; }

Result<json> read_object(const std::string& body) {
  json document = json::parse(body, nullptr, false);
  if (document.is_discarded()) return bad("not JSON");
  if (!document.is_object()) return bad("not a JSON object");
  return document;
}

Status read_handles(const json& handles, UpdateCall& call) {
  if (!handles.is_object()) return bad("the handle map is no object");
  for (const auto& [key, address] : handles.items()) {
    if (!address.is_string()) return bad("an address in the handle map is no string");
    call.handles[key] = address.get<std::string>();
  }
  return Status::success();
}

Status read_version(const json& holder, UpdateCall& call) {
  const auto found = holder.find("weight_version");
  if (found == holder.end() || found->is_null()) return Status::success();
  if (!found->is_string() || found->get_ref<const std::string&>().size() > kMaxVersion)
    return bad("weight_version is neither null nor a string of at most 256 bytes");
  call.weight_version = found->get<std::string>();
  return Status::success();
}

}  // namespace

Result<UpdateCall> read_update_body(const std::string& body) {
  UpdateCall call;
  CKPT_ASSIGN_OR_RETURN(const json document, read_object(body));
  if (!document.contains("zmq_handles")) return bad("no zmq_handles");
  CKPT_RETURN_IF_ERROR(read_handles(document["zmq_handles"], call));
  CKPT_RETURN_IF_ERROR(read_version(document, call));
  return call;
}

Result<UpdateCall> read_collective_rpc_body(const std::string& body) {
  UpdateCall call;
  CKPT_ASSIGN_OR_RETURN(const json document, read_object(body));
  const auto method = document.find("method");
  if (method == document.end() || !method->is_string()) return bad("no method");
  if (*method != "update_weights_from_ipc")
    return Status(StatusCode::invalid_argument, Scope::operation, "method {}: this engine has only update_weights_from_ipc",
                  method->dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 100));
  const auto args = document.find("args");
  if (args == document.end() || !args->is_array() || args->size() != 1) return bad("args is no list of one handle map");
  CKPT_RETURN_IF_ERROR(read_handles(args->front(), call));
  if (const auto kwargs = document.find("kwargs"); kwargs != document.end() && kwargs->is_object()) CKPT_RETURN_IF_ERROR(read_version(*kwargs, call));
  return call;
}

}  // namespace ckpt
