#include "holder/routes.h"

#include <httplib.h>

#include <nlohmann/json.hpp>

#include "holder/front.h"
#include "holder/update_call.h"

namespace ckpt {
namespace {

using httplib::Request;
using httplib::Response;
using nlohmann::json;

constexpr const char* kJson = "application/json";

void reply(Response& response, int status, const json& body) {
  response.status = status;
  response.set_content(body.dump(-1, ' ', false, json::error_handler_t::replace), kJson);
}

// Time depends on the length of `given` alone.
bool equal_in_constant_time(std::string_view given, std::string_view expected) {
  unsigned difference = given.size() == expected.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i)
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected.empty() ? 0 : expected[i % expected.size()]);
  return difference == 0;
}

bool open_to_all(const std::string& path) { return path == "/ping" || path == "/health" || path == "/metrics"; }

// Status of a failed update call: SGLang answers 400 whatever failed; a busy engine and one whose worker is being restarted can be told apart.
int http_status(const Status& status, const HolderFront& front) {
  if (status.code() == StatusCode::failed_precondition) return 409;
  return status.code() == StatusCode::unavailable && !front.ready().ok() ? 503 : 400;
}

void post_update(const Request& request, Response& response, HolderFront& front) {
  const Result<UpdateCall> call = read_update_body(request.body);
  const Status status = call.ok() ? front.update(*call) : call.status();
  if (!status.ok()) return reply(response, http_status(status, front), {{"success", false}, {"message", status.to_string()}});
  std::string message = "IPC weight update completed successfully";
  if (!call->weight_version.empty()) message += " Weight version updated to " + call->weight_version + ".";
  reply(response, 200, {{"success", true}, {"message", message}});
}

void post_collective_rpc(const Request& request, Response& response, HolderFront& front, std::uint32_t tp) {
  const Result<UpdateCall> call = read_collective_rpc_body(request.body);
  if (!call.ok()) return reply(response, 400, {{"detail", call.status().message()}});
  const Status status = front.update(*call);
  if (!status.ok()) {
    const int code = http_status(status, front);
    return reply(response, code == 400 ? 500 : code, {{"detail", status.to_string()}});
  }
  reply(response, 200, {{"results", std::vector<json>(tp, nullptr)}});
}

void reply_readiness(Response& response, const Status& status) {
  if (status.ok()) return reply(response, 200, {{"status", "ok"}});
  reply(response, 503, {{"status", status.message()}});
}

Status health(const HolderOptions& options, const HolderFront& front) {
  CKPT_RETURN_IF_ERROR(front.ready());
  if (options.wait_for_initial_weights && !front.has_committed()) return {StatusCode::unavailable, Scope::process, "waiting for the initial weights"};
  return Status::success();
}

}  // namespace

void add_routes(httplib::Server& server, const HolderOptions& options, HolderFront& front, const HolderMetrics& metrics) {
  using HandlerResponse = httplib::Server::HandlerResponse;
  server.set_pre_routing_handler([&options](const Request& request, Response& response) {
    if (options.api_key.empty() || open_to_all(request.path)) return HandlerResponse::Unhandled;
    if (equal_in_constant_time(request.get_header_value("Authorization"), "Bearer " + options.api_key)) return HandlerResponse::Unhandled;
    response.set_header("Connection", "close");  // the body is not read
    reply(response, 401, {{"error", "Unauthorized"}});
    return HandlerResponse::Handled;
  });
  server.set_error_handler([](const Request&, Response& response) {
    if (response.body.empty()) reply(response, response.status, {{"detail", response.status == 404 ? "Not Found" : "the request cannot be read"}});
  });
  server.Get("/ping", [&front](const Request&, Response& response) { reply_readiness(response, front.ready()); });
  server.Get("/health", [&](const Request&, Response& response) { reply_readiness(response, health(options, front)); });
  server.Get("/weights", [&front](const Request&, Response& response) { response.set_content(front.weights().to_json(), kJson); });
  server.Get("/metrics", [&metrics](const Request&, Response& response) { response.set_content(metrics.text(), "text/plain; version=0.0.4"); });
  server.Post("/update_weights_from_ipc", [&front](const Request& request, Response& response) { post_update(request, response, front); });
  server.Post("/collective_rpc",
              [&front, tp = options.tp](const Request& request, Response& response) { post_collective_rpc(request, response, front, tp); });
  server.Post("/update_weights_from_ckpt_engine", [](const Request&, Response& response) {
    reply(response, 501,
          {{"success", false}, {"message", "unsupported: pulling weights by model path is not offered yet; use /update_weights_from_ipc"}});
  });
}

}  // namespace ckpt
