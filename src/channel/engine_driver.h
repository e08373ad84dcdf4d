/// The HTTP side of an engine: which one it is, whether it is ready, and the call that makes its workers connect.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

enum class Dialect : std::uint8_t;

enum class EngineKind : std::uint8_t { automatic, vllm, sglang, lmdeploy, ckpt };
[[nodiscard]] std::string_view name(EngineKind kind);
[[nodiscard]] std::optional<EngineKind> engine_kind_from_name(std::string_view name);
/// Whether its workers may come more than once in one update call: SGLang's do, for the draft model of speculative decoding.
[[nodiscard]] inline bool may_come_again(EngineKind kind) { return kind == EngineKind::sglang; }

/// Whether it has no weights while we hold it, until new ones are whole: LMDeploy gives its own up when it is put to sleep.
[[nodiscard]] inline bool gives_weights_up(EngineKind kind) { return kind == EngineKind::lmdeploy; }

struct EngineOptions {
  std::string endpoint;     ///< "http://host:port"
  std::string unix_socket;  ///< path of the engine's HTTP socket; overrides the endpoint's host and port
  EngineKind kind = EngineKind::automatic;
  std::string api_key;  ///< sent as bearer token; never logged
  Duration post_timeout = std::chrono::seconds(600);
};

/// What the update call carries.
struct UpdateRequest {
  std::map<std::string, std::string> addresses;  ///< device key → ZeroMQ endpoint, all workers of this engine
  std::string weight_version;                    ///< empty: none
  std::uint32_t num_engines = 1;                 ///< that this update reaches, each by a call of its own
};

/// Which weights an engine has after an update call, as far as that is said: by our own worker, and by the reply of an LMDeploy.
enum class EngineWeights : std::uint8_t { unknown, old_ones, new_ones, torn };

/// An HTTP call under way on a thread of its own. Destruction cancels it.
class EngineCall {
 public:
  virtual ~EngineCall() = default;
  /// The reply as a status: ok only for 2xx whose body says success. 401 failed_precondition, 404 not_found, 5xx remote_error with its text,
  /// connection refused or lost unavailable.
  [[nodiscard]] virtual Status wait(Deadline deadline, const AbortSignal& abort) = 0;
  [[nodiscard]] virtual bool done() const = 0;
  /// Whether the engine has answered, well or not: on its side the call is over. False also when the connection was lost.
  [[nodiscard]] virtual bool answered() const = 0;
  /// What the reply said of the weights; unknown before there is one.
  [[nodiscard]] virtual EngineWeights weights() const = 0;
  /// Whether the reply said that no update before this one left the engine held: a pause that was there is somebody else's. Our own worker knows.
  [[nodiscard]] virtual bool pause_is_others() const = 0;
  virtual void cancel() noexcept = 0;
};

/// One engine. Threads: one at a time.
class EngineDriver {
 public:
  virtual ~EngineDriver() = default;
  [[nodiscard]] virtual EngineKind kind() const = 0;
  [[nodiscard]] virtual const std::string& endpoint() const = 0;
  /// Where the engine is and of which kind, on one line: what is remembered of it is kept under this.
  [[nodiscard]] virtual std::string identity() const = 0;
  /// Polls the engine's readiness route (and finds out its kind, if automatic) until it can take an update. Every answer but "not yet" ends it.
  [[nodiscard]] virtual Status wait_ready(Deadline deadline, const AbortSignal& abort) = 0;
  /// What the engine said, when it was ready, that its workers speak; automatic: it did not. Only LMDeploy does.
  [[nodiscard]] virtual Dialect told_dialect() const = 0;
  /// Whether the call would reach the engine's workers, and all of them, by what it said when it was ready. invalid_argument, naming the devices.
  [[nodiscard]] virtual Status check_reach(const UpdateRequest& request) const = 0;
  /// Before the first byte: the engine's requests are held, where it does not hold them itself. vLLM pauses; a route that an older one lacks is a
  /// note. LMDeploy sleeps (engine_sleep.h): then its weights are gone. 401 is failed_precondition.
  [[nodiscard]] virtual Status prepare(Deadline deadline, const AbortSignal& abort) = 0;
  /// The weights are whole: requests go on. `new_version`: the weights have changed, and are called so (empty: nameless); none: they have not.
  /// Without a prepare() that held requests, nothing is let go on. Not to be called while weights are torn: then the engine stays held.
  [[nodiscard]] virtual Status settle(const std::optional<std::string>& new_version, Deadline deadline, const AbortSignal& abort) = 0;
  /// settle() is to leave the engine paused if it was when prepare() came. Whether it was.
  [[nodiscard]] virtual bool leave_paused() = 0;
  /// Whether requests are held by us, or may be: prepare() ended without an answer.
  [[nodiscard]] virtual bool holds() const = 0;
  /// What a person should know of this engine, one sentence each.
  [[nodiscard]] virtual const std::vector<std::string>& notes() const = 0;
  /// Starts the update call. `on_reply` runs once on the call's thread as soon as the reply is there (before wait() returns).
  [[nodiscard]] virtual Result<std::unique_ptr<EngineCall>> start_update(const UpdateRequest& request,
                                                                         std::function<void(const Status&)> on_reply) = 0;
};

/// invalid_argument: an endpoint that is no URL, a key with a line break.
[[nodiscard]] Result<std::unique_ptr<EngineDriver>> make_engine_driver(const EngineOptions& options);

}  // namespace ckpt
