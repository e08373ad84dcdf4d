#include "channel/engine_driver.h"

#include <atomic>

#include "channel/engine_hold.h"
#include "channel/engine_protocol.h"
#include "channel/engine_sleep.h"
#include "channel/http_call.h"
#include "channel/worker_results.h"
#include "os/wait_fd.h"

namespace ckpt {
namespace {

using std::chrono::milliseconds;

constexpr Duration kProbeTimeout = std::chrono::seconds(5);
constexpr Duration kFirstPause = milliseconds(50);
constexpr Duration kLongestPause = milliseconds(500);
constexpr std::size_t kProbeReplyBytes = 64 * 1024;

/// The update call: an HttpCall whose reply is judged by the engine's protocol.
class HttpEngineCall final : public EngineCall {
 public:
  HttpEngineCall(const EngineProtocol& protocol, std::string what, std::map<std::string, std::string> addresses, Deadline deadline)
      : protocol_(protocol), what_(std::move(what)), addresses_(std::move(addresses)), deadline_(deadline) {}

  Status start(const HttpUrl& url, HttpRequest request, std::function<void(const Status&)> on_reply) {
    auto on_end = [this, on_reply = std::move(on_reply)](const Result<HttpReply>& reply) {
      if (reply.ok()) {
        const WorkerResults said = results_of(*reply);
        weights_ = said.weights;
        pause_is_others_ = said.pause_is_others;
      }
      answered_ = reply.ok();
      if (on_reply) on_reply(judge(reply));
    };
    CKPT_ASSIGN_OR_RETURN(call_, HttpCall::start(url, std::move(request), std::move(on_end)));
    return Status::success();
  }

  Status wait(Deadline deadline, const AbortSignal& abort) override {
    const Result<HttpReply> reply = call_->wait(deadline_.time() < deadline.time() ? deadline_ : deadline, abort);
    if (!call_->done() && deadline_.passed()) call_->cancel(reply.status());
    return judge(reply);
  }
  [[nodiscard]] bool done() const override { return call_->done(); }
  [[nodiscard]] bool answered() const override { return answered_; }
  [[nodiscard]] EngineWeights weights() const override { return weights_; }
  [[nodiscard]] bool pause_is_others() const override { return pause_is_others_; }
  void cancel() noexcept override { call_->cancel(Status(StatusCode::cancelled, Scope::operation, "{}: cancelled", what_)); }

 private:
  [[nodiscard]] Status judge(const Result<HttpReply>& reply) const {
    Status status = reply.ok() ? judge_update_reply(protocol_, what_, *reply) : reply.status();
    if (status.ok()) status = results_of(*reply).status;
    return status.at_stage("hand-over");
  }

  // What the workers themselves say, where the engine passes it on. An LMDeploy's word is good for all of its workers.
  [[nodiscard]] WorkerResults results_of(const HttpReply& reply) const {
    if (protocol_.kind == EngineKind::lmdeploy && judge_update_reply(protocol_, what_, reply).ok())
      return {Status::success(), EngineWeights::new_ones};
    if (protocol_.kind != EngineKind::vllm || reply.status != 200 || reply.body.empty()) return {};
    return judge_worker_results(what_, reply.body, addresses_);
  }

  const EngineProtocol protocol_;
  const std::string what_;
  const std::map<std::string, std::string> addresses_;
  const Deadline deadline_;
  std::atomic<bool> answered_ = false;
  std::atomic<EngineWeights> weights_ = EngineWeights::unknown;
  std::atomic<bool> pause_is_others_ = false;
  std::unique_ptr<HttpCall> call_;
};

class HttpEngineDriver final : public EngineDriver {
 public:
  HttpEngineDriver(const EngineOptions& options, HttpUrl url)
      : options_(options), url_(std::move(url)), endpoint_(url_.text()), kind_(options.kind) {}

  [[nodiscard]] EngineKind kind() const override { return kind_; }
  [[nodiscard]] const std::string& endpoint() const override { return endpoint_; }
  [[nodiscard]] std::string identity() const override { return fmt::format("{} {}", name(kind_), endpoint_); }

  Status wait_ready(Deadline deadline, const AbortSignal& abort) override { return poll_until_ready(deadline, abort).at_stage("connect"); }

  [[nodiscard]] Dialect told_dialect() const override { return told_ ? dialect_of(*told_) : Dialect::automatic; }
  [[nodiscard]] Status check_reach(const UpdateRequest& request) const override {
    return told_ ? check_sleepers_devices(endpoint_, *told_, request) : Status::success();
  }

  Status prepare(Deadline deadline, const AbortSignal& abort) override {
    if (kind_ == EngineKind::lmdeploy) return put_to_sleep(sleeper_routes(deadline, abort), holds_);
    if (kind_ != EngineKind::vllm) return Status::success();
    found_paused_ = says_paused(get("/is_paused", deadline, abort));
    const Result<HttpReply> weight_info = get("/weight_info", deadline, abort);  // asked while requests still go on
    bool answered = false;
    const EnginePost post = [&answered, post = poster(deadline, abort)](const std::string& path, const std::string& body) {
      Result<HttpReply> reply = post(path, body);
      answered = reply.ok();
      return reply;
    };
    const Result<bool> held = hold_requests(post, notes_);
    holds_ = held.ok() ? *held : !answered;  // one that did not answer may hold them all the same
    CKPT_RETURN_IF_ERROR(held.status());
    CKPT_ASSIGN_OR_RETURN(told_before_, forget_version(weight_info, post));
    return Status::success();
  }

  Status settle(const std::optional<std::string>& new_version, Deadline deadline, const AbortSignal& abort) override {
    const EnginePost post = poster(deadline, abort);
    if (kind_ == EngineKind::vllm && new_version) CKPT_RETURN_IF_ERROR(announce_weights(post, *new_version, notes_));
    if (!new_version && told_before_) CKPT_RETURN_IF_ERROR(restore_version(post, *told_before_));
    if (!holds_) return Status::success();
    if (leaves_paused_ && found_paused_) {
      notes_.emplace_back("the engine was paused before the update, and stays so: POST /resume lets it go on");
      holds_ = false;
      return Status::success();
    }
    CKPT_RETURN_IF_ERROR(kind_ == EngineKind::lmdeploy ? wake_up(sleeper_routes(deadline, abort)) : let_requests_go_on(post));
    holds_ = false;
    return Status::success();
  }
  [[nodiscard]] bool leave_paused() override {
    leaves_paused_ = true;
    return found_paused_;
  }
  [[nodiscard]] bool holds() const override { return holds_; }
  [[nodiscard]] const std::vector<std::string>& notes() const override { return notes_; }

  Result<std::unique_ptr<EngineCall>> start_update(const UpdateRequest& request, std::function<void(const Status&)> on_reply) override {
    if (kind_ == EngineKind::automatic)
      return Status(StatusCode::failed_precondition, Scope::operation, "engine {}: its kind is not known before wait_ready", endpoint_);
    CKPT_ASSIGN_OR_RETURN(const EngineProtocol protocol, engine_protocol(kind_));
    HttpRequest http = request_for("POST", protocol.update_path);
    http.body = update_body(kind_, request);
    http.timeout = options_.post_timeout;
    auto call = std::make_unique<HttpEngineCall>(protocol, fmt::format("POST {}{}", endpoint_, http.path), request.addresses,
                                                 Deadline::after(options_.post_timeout));
    CKPT_RETURN_IF_ERROR(call->start(url_, std::move(http), std::move(on_reply)));
    return std::unique_ptr<EngineCall>(std::move(call));
  }

 private:
  // An answer that is not final: no connection, no reply in time, 503.
  static bool not_yet(const Result<HttpReply>& reply) {
    const StatusCode code = reply.status().code();
    return reply.ok() ? reply->status == 503 : code == StatusCode::unavailable || code == StatusCode::deadline_exceeded;
  }
  static std::string outcome(const Result<HttpReply>& reply) { return reply.ok() ? fmt::format("{}", reply->status) : reply.status().message(); }

  [[nodiscard]] HttpRequest request_for(std::string_view method, std::string_view path) const {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.bearer = options_.api_key;
    return request;
  }

  [[nodiscard]] Result<HttpReply> get(std::string_view path, Deadline deadline, const AbortSignal& abort) const {
    HttpRequest request = request_for("GET", path);
    request.timeout = kProbeTimeout;
    request.max_reply_bytes = kProbeReplyBytes;
    CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<HttpCall> call, HttpCall::start(url_, std::move(request)));
    return call->wait(deadline.capped(kProbeTimeout), abort);
  }

  // Engines answer these routes between two of their steps, some after they have let running requests end.
  [[nodiscard]] EnginePost poster(Deadline deadline, const AbortSignal& abort) const {
    return [this, deadline, &abort](const std::string& path, const std::string& body) -> Result<HttpReply> {
      HttpRequest request = request_for("POST", path);
      request.body = body;
      request.timeout = options_.post_timeout;
      CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<HttpCall> call, HttpCall::start(url_, std::move(request)));
      return call->wait(deadline, abort);
    };
  }

  // Its workers are asked before it answers, hence longer than a probe may take.
  [[nodiscard]] SleeperRoutes sleeper_routes(Deadline deadline, const AbortSignal& abort) const {
    const auto get = [this, deadline, &abort]() -> Result<HttpReply> {
      CKPT_ASSIGN_OR_RETURN(const EngineProtocol protocol, engine_protocol(kind_));
      HttpRequest request = request_for("GET", protocol.ready_path);
      request.timeout = options_.post_timeout;
      CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<HttpCall> call, HttpCall::start(url_, std::move(request)));
      return call->wait(deadline, abort);
    };
    return {endpoint_, get, poster(deadline, abort)};
  }

  // What an LMDeploy says in its 200: awake, it is never "ready".
  Status learn_state(const HttpReply& reply) {
    CKPT_ASSIGN_OR_RETURN(told_, read_sleeper_state(endpoint_, reply));
    return check_sleeper(endpoint_, *told_);
  }

  // True: ready. False: not yet, `last_answer` says why.
  Result<bool> try_once(Deadline deadline, const AbortSignal& abort, std::string& last_answer) {
    if (kind_ == EngineKind::automatic) {
      CKPT_ASSIGN_OR_RETURN(const bool found, detect(deadline, abort, last_answer));
      if (!found) return false;
    }
    CKPT_ASSIGN_OR_RETURN(const EngineProtocol protocol, engine_protocol(kind_));
    const Result<HttpReply> reply = get(protocol.ready_path, deadline, abort);
    last_answer = fmt::format("GET {}: {}", protocol.ready_path, outcome(reply));
    if (not_yet(reply)) return false;
    if (!reply.ok()) return reply.status();
    if (reply->status == 200) {
      if (kind_ == EngineKind::lmdeploy) CKPT_RETURN_IF_ERROR(learn_state(*reply));
      return true;
    }
    return refusal(fmt::format("GET {}{}", endpoint_, protocol.ready_path), *reply, protocol.not_found_advice);
  }

  // Asks route after route until one is recognised. False: not yet.
  Result<bool> detect(Deadline deadline, const AbortSignal& abort, std::string& last_answer) {
    std::string answers;
    for (const EngineProbe& probe : kEngineProbes) {
      const Result<HttpReply> reply = get(probe.path, deadline, abort);
      last_answer = fmt::format("GET {}: {}", probe.path, outcome(reply));
      if (not_yet(reply)) return false;
      if (!reply.ok()) return reply.status();
      if (reply->status == 401 || reply->status == 403) return refusal(fmt::format("GET {}{}", endpoint_, probe.path), *reply, "");
      if (recognises(probe, *reply)) {
        kind_ = probe.kind;
        return true;
      }
      answers += fmt::format("{}GET {}: {}", answers.empty() ? "" : ", ", probe.path, reply->status);
    }
    return Status(StatusCode::not_found, Scope::operation, "engine {}: none of the engines known answers there: {}", endpoint_, answers)
        .advise("check the endpoint, or name the engine with --engine");
  }

  Status poll_until_ready(Deadline deadline, const AbortSignal& abort) {
    std::string last_answer = "none";
    for (Duration pause = kFirstPause;; pause = std::min(pause * 2, kLongestPause)) {
      std::string answer;
      CKPT_ASSIGN_OR_RETURN(const bool ready, try_once(deadline, abort, answer));
      if (ready) return Status::success();
      if (!deadline.passed() || last_answer == "none") last_answer = std::move(answer);  // that the time was up says less than what came before
      CKPT_RETURN_IF_ERROR(pause_for(std::min(pause, deadline.remaining()), abort));
      if (deadline.passed())
        return Status(StatusCode::deadline_exceeded, Scope::peer, "engine {} is not ready; last answer: {}", endpoint_, last_answer)
            .advise("start the engine, check the endpoint, or wait longer with --ready-timeout");
    }
  }

  const EngineOptions options_;
  const HttpUrl url_;
  const std::string endpoint_;
  EngineKind kind_;
  std::optional<SleeperState> told_;
  std::optional<std::string> told_before_;  // the version of the weights that prepare() found
  bool holds_ = false;
  bool found_paused_ = false;
  bool leaves_paused_ = false;
  std::vector<std::string> notes_;
};

}  // namespace

Result<std::unique_ptr<EngineDriver>> make_engine_driver(const EngineOptions& options) {
  CKPT_ASSIGN_OR_RETURN(HttpUrl url,
                        parse_http_url(options.endpoint.empty() && !options.unix_socket.empty() ? "http://localhost" : options.endpoint));
  url.unix_socket = options.unix_socket;
  if (options.api_key.find_first_of("\r\n") != std::string::npos)
    return Status(StatusCode::invalid_argument, Scope::operation, "the engine's api key holds a line break");
  return std::unique_ptr<EngineDriver>(std::make_unique<HttpEngineDriver>(options, std::move(url)));
}

}  // namespace ckpt
