/// What a ckpt_receiver holds, and what a message becomes in the C interface.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ckpt/ckpt.h"
#include "os/abort_signal.h"
#include "receiver/slot_view.h"
#include "receiver/worker_session.h"

/// Everything that the last event points at lives here.
struct ckpt_receiver {
  explicit ckpt_receiver(ckpt::ReceiveOptions options) : session(std::move(options)) {}

  ckpt::WorkerSession session;
  ckpt::AbortSignal never;             // callers poll: they end their waits themselves
  std::optional<ckpt::SlotView> view;  // of host memory; of a GPU's from the first bucket on that comes with digests
  bool releasing = false;              // the buffer goes when the release is answered
  std::string handle_json;
  std::vector<ckpt_placed_tensor> tensors;
  std::vector<std::uint64_t> shapes;
  std::string names;
};

namespace ckpt::capi {

/// The arguments of rebuild_cuda_tensor but `storage_handle`, by their names there.
[[nodiscard]] std::string cuda_handle_json(const PickledHandle& handle);

/// Fills the tensor arrays of `receiver` and the bucket's part of `event`.
void describe_bucket(const NativeBucket& bucket, ckpt_receiver& receiver, ckpt_event& event);

}  // namespace ckpt::capi
