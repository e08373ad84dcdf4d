/// The engine that only holds weights: a front process with HTTP, and one worker process a TP rank. The end of the data path without a GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"

namespace ckpt {

struct HolderOptions {
  std::string model_dir;  ///< config.json and safetensors headers; no weights are read from it
  std::uint32_t tp = 1;
  std::string host = "127.0.0.1";
  int port = 19730;         ///< 0: any free one
  std::string port_file;    ///< the port is written here once it is known; empty: nowhere
  std::string unix_socket;  ///< HTTP here as well; empty: TCP only
  std::string api_key;      ///< bearer token that every route but /ping, /health and /metrics wants; empty: none
  bool in_place = false;    ///< one arena instead of two: a failed update leaves nothing whole
  bool wait_for_initial_weights = false;
  Duration update_timeout = std::chrono::seconds(600);  ///< longest update
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
  std::vector<std::string> worker_command;  ///< starts a worker; the number of its control descriptor is appended
  std::string worker_prefix;                ///< words before that command, "{rank}" in them is the worker's; empty: none
};

/// Where the engine listens.
struct HolderAddress {
  std::string host;
  int port = 0;
  std::string unix_socket;
};

/// Runs the engine until `interrupt` triggers; ok then, within 5 s, with nothing left behind. `on_listening` runs once HTTP is up; the workers may
/// still be taking their memory (GET /ping says when an update can come).
///   not_found, data_corruption, invalid_argument   the model, or a tp that does not divide it
///   resource_exhausted                             no room for the weights; says how many bytes are missing
///   failed_precondition                            the port or socket is taken
[[nodiscard]] Status run_holder(const HolderOptions& options, const AbortSignal& interrupt,
                                const std::function<void(const HolderAddress&)>& on_listening);

}  // namespace ckpt
