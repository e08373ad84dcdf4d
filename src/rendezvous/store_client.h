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
#include "rendezvous/silence.h"

namespace ckpt {

/// The answer to one request.
struct StoreAnswer {
  StoreMessage message;                                         ///< reply, joined or gathered
  std::map<std::uint32_t, std::shared_ptr<const Bytes>> parts;  ///< of a gather, by rank
};

/// A value and its version: 1 after the first change of its key.
struct StoreValue {
  Bytes bytes;
  std::int64_t version = 0;
};

/// What a client learns without asking. Called on its thread, in the order of the messages, before the call they answer returns.
struct StoreEvents {
  std::function<void(std::uint64_t epoch)> on_joined = {};
  /// Epoch 0: the connection itself is lost.
  std::function<void(std::uint64_t epoch, const Status& why)> on_failed = {};
};

/// Whether connect() waits for a store that does not listen yet.
enum class Patience : std::uint8_t { until_deadline, none };

/// Threads: any. A thread of its own reads and sends heartbeats. Once the connection is lost every call returns that status, whose text does not
/// depend on the rank: all ranks of a job tell the same.
class StoreClient {
 public:
  /// failed_precondition: a wrong token, or no store of ours. deadline_exceeded, or unavailable without patience: nobody listens there.
  [[nodiscard]] static Result<std::unique_ptr<StoreClient>> connect(const GroupOptions& options, Deadline deadline, const AbortSignal& abort,
                                                                    StoreEvents events, Patience patience = Patience::until_deadline);
  ~StoreClient();

  [[nodiscard]] Status set(const std::string& key, Bytes value, Deadline deadline);
  /// not_found at once when the key is absent.
  [[nodiscard]] Result<StoreValue> get(const std::string& key, Deadline deadline);
  /// Waits until the key is there.
  [[nodiscard]] Result<StoreValue> wait(const std::string& key, Deadline deadline) { return watch(key, 0, deadline); }
  /// Waits until the key's version is another than `seen`.
  [[nodiscard]] Result<StoreValue> watch(const std::string& key, std::int64_t seen, Deadline deadline);
  /// Adds to a number, where an absent key counts as 0, and returns the sum.
  [[nodiscard]] Result<std::int64_t> add(const std::string& key, std::int64_t number, Deadline deadline);
  /// Sets the value if the key is at `version` (0: absent), and returns its new version. failed_precondition names the version it is at.
  [[nodiscard]] Result<std::int64_t> compare_set(const std::string& key, std::int64_t version, Bytes value, Deadline deadline);

  /// Sends a request and waits for its answer. The store ends it at the deadline with a better text; this side a little later, should the store hang.
  [[nodiscard]] Result<StoreAnswer> ask(StoreMessage request, Deadline deadline) CKPT_EXCLUDES(mutex_);
  /// Sends without an answer.
  void tell(const StoreMessage& message) noexcept CKPT_EXCLUDES(mutex_);
  /// Ends the calls under way with `why`; later ones work.
  void give_up(const Status& why) CKPT_EXCLUDES(mutex_);
  /// ok while the connection stands.
  [[nodiscard]] Status lost() CKPT_EXCLUDES(mutex_);

 private:
  struct Pending {
    std::uint64_t epoch = 0;  // of a gather; 0: not bound to one
    bool done = false;
    Status status;
    StoreAnswer answer;
  };
  StoreClient(const GroupOptions& options, Socket socket, StoreEvents events);
  [[nodiscard]] Status start();
  void serve();
  [[nodiscard]] Status turn(TimePoint& next_heartbeat);
  [[nodiscard]] Status handle(StoreMessage message) CKPT_EXCLUDES(mutex_);
  void end_requests(std::uint64_t epoch, const Status& why) CKPT_EXCLUDES(mutex_);
  void end_calls(std::uint64_t epoch, const Status& why) CKPT_REQUIRES(mutex_);
  void lose(const Status& why) CKPT_EXCLUDES(mutex_);
  [[nodiscard]] Status read();
  void wake() noexcept;

  GroupOptions options_;
  Socket socket_;
  StoreEvents events_;
  UniqueFd wake_;
  MessageReader reader_;
  TimePoint last_heard_;
  OwnPresence presence_;
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
