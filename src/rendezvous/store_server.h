/// The store: the one place of a job that knows who is there. Started by rank 0, or by the parent of ranks that run on this host.
#pragma once

#include <memory>
#include <string>

#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "rendezvous/group.h"

namespace ckpt {

struct StoreServerOptions {
  std::string host = "127.0.0.1";  ///< address to listen on
  std::uint16_t port = 0;          ///< 0: the system chooses
  std::uint32_t num_ranks = 1;
  std::string token = {};
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
};

/// One thread serves all connections; nothing of it blocks on a client. Threads: any.
/// A connection that ends, or is silent for the heartbeat timeout, is the death of its rank; everyone is told within milliseconds.
/// Whoever hosts it ends it last: wait_until_empty, then destruction.
class StoreServer {
 public:
  virtual ~StoreServer() = default;  ///< ends the thread and every connection
  [[nodiscard]] virtual StoreAddress address() const = 0;
  /// Until no rank is connected any more. deadline_exceeded.
  [[nodiscard]] virtual Status wait_until_empty(Deadline deadline, const AbortSignal& abort) = 0;

  /// failed_precondition: the port is taken. invalid_argument: the token, the number of ranks. resource_exhausted: no thread.
  [[nodiscard]] static Result<std::unique_ptr<StoreServer>> start(const StoreServerOptions& options, Deadline deadline);
};

}  // namespace ckpt
