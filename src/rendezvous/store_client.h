/// A connection to the store: requests and their answers, heartbeats, and the news that the epoch has failed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "os/socket.h"
#include "rendezvous/group.h"
#include "rendezvous/message_stream.h"

namespace ckpt {

/// The answer to one request.
struct StoreAnswer {
  StoreMessage message;                                         ///< reply, joined or gathered
  std::map<std::uint32_t, std::shared_ptr<const Bytes>> parts;  ///< of a gather, by rank
};

/// Threads: any. A thread of its own reads, answers heartbeats and writes. Once the connection is lost every call returns that status.
class StoreClient {
 public:
  /// Retries while nobody listens yet. `on_failed` runs on the client's thread with epoch and reason; epoch 0: the connection itself is lost.
  [[nodiscard]] static Result<std::unique_ptr<StoreClient>> connect(const GroupOptions& options, Deadline deadline, const AbortSignal& abort,
                                                                    std::function<void(std::uint64_t, const Status&)> on_failed);
  ~StoreClient();

  /// Sends a request and waits for its answer. The store ends it at the deadline with a better text; this side a little later, should the store hang.
  [[nodiscard]] Result<StoreAnswer> ask(StoreMessage request, Deadline deadline) CKPT_EXCLUDES(mutex_);
  /// Sends without an answer.
  void tell(const StoreMessage& message) noexcept CKPT_EXCLUDES(mutex_);

 private:
  struct Pending {
    std::uint64_t epoch = 0;  // of a gather; 0: not bound to one
    bool done = false;
    Status status;
    StoreAnswer answer;
  };
  StoreClient(const GroupOptions& options, Socket socket, std::function<void(std::uint64_t, const Status&)> on_failed);
  void serve();
  [[nodiscard]] Status turn(TimePoint& next_heartbeat);
  [[nodiscard]] Status handle(StoreMessage message) CKPT_EXCLUDES(mutex_);
  void end_requests(std::uint64_t epoch, const Status& why) CKPT_EXCLUDES(mutex_);
  void lose(const Status& why) CKPT_EXCLUDES(mutex_);
  void wake() noexcept;

  GroupOptions options_;
  Socket socket_;
  std::function<void(std::uint64_t, const Status&)> on_failed_;
  UniqueFd wake_;
  MessageReader reader_;
  TimePoint last_heard_;
  Mutex mutex_;
  ConditionVariable changed_;
  SendQueue out_ CKPT_GUARDED_BY(mutex_);
  std::map<std::uint64_t, Pending> pending_ CKPT_GUARDED_BY(mutex_);
  std::uint64_t next_id_ CKPT_GUARDED_BY(mutex_) = 1;
  Status lost_ CKPT_GUARDED_BY(mutex_);
  std::atomic<bool> quit_{false};
  std::thread thread_;
};

}  // namespace ckpt
