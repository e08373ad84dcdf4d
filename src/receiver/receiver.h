/// The engine side of a whole session: attach, map, iterate, apply, acknowledge. Native messages of our own sender alone.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "ckpt/result.h"
#include "manifest/parameter.h"
#include "os/abort_signal.h"
#include "receiver/worker_session.h"

namespace ckpt {

/// A whole tensor in the sender's slot, or of a GPU's slot in a copy of the bucket. Valid until apply() returns.
struct ReceivedTensor {
  Parameter parameter;
  std::span<const std::byte> bytes;  ///< parameter.bytes of them, row-major
};

/// Where an update goes: implemented by the engine. All calls come from the thread that called receive_update, in the order written here.
class UpdateSink {
 public:
  virtual ~UpdateSink() = default;
  /// One bucket, its digests already checked. Its error text is the worker's answer.
  [[nodiscard]] virtual Status apply(std::span<const ReceivedTensor> tensors) = 0;
  /// The buffer is unmapped.
  virtual void released() = 0;
  /// Everything has come: check completeness and answer *prepared* by returning ok. Must not make the new weights visible: only when receive_update
  /// returns ok has the sender said that every worker of every engine is prepared.
  [[nodiscard]] virtual Status prepare() = 0;
};

/// Runs one session to its end. ok: the sink answered prepared, and the sender gave the go-ahead to commit (and may have died since). cancelled: the
/// sender aborted (its reason is kept). unavailable (peer): the sender went away. unsupported: it speaks pickles. Every message is checked before it
/// is used: offsets, sizes, names; data_corruption names tensor and reason.
[[nodiscard]] Status receive_update(const ReceiveOptions& options, UpdateSink& sink, Deadline deadline, const AbortSignal& abort);

}  // namespace ckpt
