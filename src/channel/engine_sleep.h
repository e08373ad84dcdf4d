/// How an LMDeploy is brought through an update: what it tells of itself is checked first, then it is put to sleep, which gives its weights up, and
/// it is woken when the new ones are whole.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "channel/bucket_session.h"
#include "channel/engine_driver.h"
#include "channel/http_call.h"
#include "ckpt/result.h"

namespace ckpt {

/// The engine's routes, as far as they are needed here. `get` asks GET /update_weights_from_ipc.
struct SleeperRoutes {
  std::string endpoint;  ///< for errors
  std::function<Result<HttpReply>()> get;
  std::function<Result<HttpReply>(const std::string& path, const std::string& body)> post;
};

/// What GET /update_weights_from_ipc tells. What it leaves out, or tells as null, is empty.
struct SleeperState {
  bool ready = false;  ///< asleep, and its workers can receive
  bool is_sleeping = false;
  bool has_topology = true;  ///< false: its workers do not agree on how many they are
  std::string message;
  std::string backend;
  std::string device_type;
  std::string package_version;  ///< of checkpoint-engine in its workers; several, with commas, where they differ
  std::vector<std::string> sleeping_tags;
  std::vector<std::string> device_uuids;
  std::uint32_t dp = 1;  ///< servers of its kind that sleep and load together

  [[nodiscard]] bool sleeps(std::string_view tag) const;
};

/// remote_error: no JSON object with "ready". Else as judged by refusal().
[[nodiscard]] Result<SleeperState> read_sleeper_state(std::string_view endpoint, const HttpReply& reply);

/// What its workers will speak: of a package below 0.4 dialect one, else two; automatic where no version is told, or different ones.
[[nodiscard]] Dialect dialect_of(const SleeperState& state);

/// Whether this engine can be updated at all. unsupported: another backend or device than PyTorch on CUDA. failed_precondition: its workers lack the
/// package, or are not ready though it sleeps.
[[nodiscard]] Status check_sleeper(std::string_view endpoint, const SleeperState& state);

/// Whether the device keys of `request` are those of its workers, and all servers that load together are in the update. invalid_argument, naming what
/// is missing.
[[nodiscard]] Status check_sleepers_devices(std::string_view endpoint, const SleeperState& state, const UpdateRequest& request);

/// Asks and checks again, then POST /sleep?level=2 and /wakeup?tags=weights, as far as it does not sleep already, and asks whether it is ready.
/// `asleep`: whether its weights are given up, or may be; not before the first POST.
[[nodiscard]] Status put_to_sleep(const SleeperRoutes& engine, bool& asleep);

/// The weights are whole: POST /wakeup?tags=kv_cache. remote_error: it sleeps on.
[[nodiscard]] Status wake_up(const SleeperRoutes& engine);

}  // namespace ckpt
