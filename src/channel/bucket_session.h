/// Carries buckets to one engine worker: slot filled by the pipeline ─▶ BucketSession ─▶ the worker's load_weights.
/// docs/format/channel.md has the messages byte by byte.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/deadline.h"
#include "channel/placed_tensor.h"
#include "ckpt/result.h"
#include "device/device.h"
#include "os/abort_signal.h"

namespace ckpt {

/// Generation of the worker. `native` is our own receiver (msgpack messages, host memory by descriptor); the others speak pickles. `automatic` serves
/// all of them: native ones come to an address of their own beside the first, the others are told apart by how they end.
enum class Dialect : std::uint8_t { automatic, one, two, native };
[[nodiscard]] std::string_view name(Dialect dialect);  ///< "auto", "1", "2", "native"
[[nodiscard]] std::optional<Dialect> dialect_from_name(std::string_view name);

struct SessionOptions {
  std::string socket_dir;   ///< made private; or "abstract": names without a file, for this user's processes only
  std::string journal_dir;  ///< where open sessions are recorded
  std::string worker_key;   ///< device key, for the address map and the errors
  Dialect dialect = Dialect::automatic;
  Duration heartbeat_interval = std::chrono::seconds(1);
  Duration heartbeat_timeout = std::chrono::seconds(10);
  Duration ack_timeout = std::chrono::seconds(300);  ///< for the answer to a bucket; the other waits have their deadline alone
  /// Where `dialect` is automatic: what was found last time. A hint; one that is wrong costs nothing.
  Dialect expected = Dialect::automatic;
};

/// Owns the socket, its monitor and its journal entry; borrows the shared buffer, which must outlive it.
/// Threads: one at a time; abort() from any.
/// Invariants: 1. at most one offer is unanswered. 2. After the first error every call returns that error. 3. No call blocks beyond its deadline.
class BucketSession {
 public:
  /// Sends the abort message if the worker still waits; never blocks longer than 1 s. Where that does not reach it (it is busy, or has not come yet),
  /// the journal entry stays, and recover_sessions tells it later.
  virtual ~BucketSession() = default;

  /// ZeroMQ endpoint for the engine's handle map.
  [[nodiscard]] virtual const std::string& address() const = 0;
  /// The engine's update call is about to be sent, by this rank or another: from now on the worker may come, however this update goes on, and the
  /// engine's reply may follow a disconnected worker with the reason.
  virtual void engine_asked() noexcept = 0;
  /// The engine's update call has been answered, well or not: no worker will come any more.
  virtual void engine_answered() noexcept = 0;
  /// Waits for the worker, sends the handle of `buffer` and reads its answer. Until the session ends nobody else can connect.
  ///   deadline_exceeded, unavailable (peer)   it never came, or went      remote_error (peer)  it could not map the buffer
  ///   unsupported (peer)                      `buffer` is host memory, and the worker is not native
  [[nodiscard]] virtual Status connect(const ExportedBuffer& buffer, Deadline deadline) = 0;
  /// Offers one bucket (`message` from encode_bucket) and waits for the worker's answer, also for the last one. The slot may be refilled once this
  /// returns ok.
  ///   remote_error      (peer)  the worker's loader raised; its text is kept
  ///   unavailable       (peer)  the worker disconnected, or its HTTP call ended first
  ///   deadline_exceeded (peer)  no answer by `deadline` or within the ack timeout
  [[nodiscard]] virtual Status offer(std::uint32_t bucket, std::string_view message, Deadline deadline) = 0;
  /// Tells the worker to let go of the buffer, and waits until it has: the buffer may be freed afterwards. Native workers also check here that
  /// everything has come and answer *prepared*; a worker of dialect 1 has run its post-load hook.
  [[nodiscard]] virtual Status release(Deadline deadline) = 0;
  /// The go-ahead after all workers of all engines have released: post-load hook (dialect 2), commit (native). After ok the HTTP reply decides:
  /// when the dialect is not known, a worker that leaves without an answer may be one of dialect 1 that was slow, or one whose hook raised.
  [[nodiscard]] virtual Status finish(Deadline deadline) = 0;
  /// After finish: the same address for another session, from connect on, as long as the engine's call is under way. An engine with a draft model
  /// takes the weights twice. A worker that comes meanwhile waits.
  [[nodiscard]] virtual Status reopen() = 0;
  /// Waits for a worker at the reopened address: true. False when `call_ended` triggers first.
  [[nodiscard]] virtual Result<bool> comes_again(Deadline deadline, const AbortSignal& call_ended) = 0;
  /// The dialect in use, once known: native after connect, the others after finish at the latest.
  [[nodiscard]] virtual Dialect dialect() const = 0;
  /// Ends any call under way with `reason` and tells the worker at destruction. From any thread.
  virtual void abort(const Status& reason) noexcept = 0;
};

/// The message that offers a bucket. Worked out once per plan: a warm update does no per-tensor work. `checks` travel in native messages only.
[[nodiscard]] std::string encode_bucket(Dialect dialect, std::uint32_t bucket, std::span<const PlacedTensor> tensors,
                                        std::span<const UnitCheck> checks);

/// Binds a fresh, unguessable address and records it in the journal. `abort` ends every wait of the session; it must outlive it.
[[nodiscard]] Result<std::unique_ptr<BucketSession>> open_session(const SessionOptions& options, const AbortSignal& abort);

/// Frees workers that a dead process of this user left waiting: binds each journaled address whose lock is free and sends the abort message. Returns
/// how many were freed. The entry is removed when its worker has let go, or when none can be waiting (docs/format/channel.md); it is kept otherwise.
/// Entries whose owner lives are left alone. Bounded by `deadline`, and by 6 s.
[[nodiscard]] Result<int> recover_sessions(const std::string& journal_dir, Deadline deadline);

/// The directories in use: `$XDG_RUNTIME_DIR/ckpt-engine`, else `/tmp/ckpt-engine-<uid>`; created 0700; failed_precondition when it is not ours or
/// open to others.
[[nodiscard]] Result<std::string> default_runtime_dir();

}  // namespace ckpt
