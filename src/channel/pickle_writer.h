/// The messages that unmodified workers expect, written by hand: pickles of protocol 4. Only emitted here, never executed.
/// Source of the forms: torch/multiprocessing/reductions.py, checkpoint_engine/worker.py; docs/format/channel.md has them byte by byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "channel/placed_tensor.h"

namespace ckpt {

/// (rebuild_cuda_tensor, 15 arguments): a flat uint8 tensor of `bytes` behind a raw 64-byte cudaIpcMemHandle_t.
[[nodiscard]] std::string pickle_handle(std::string_view ipc_handle, std::uint64_t bytes);
/// A list of {"name", "dtype", "shape", "offset"}. Every tensor's dtype must have a torch name.
[[nodiscard]] std::string pickle_bucket(std::span<const PlacedTensor> tensors);
[[nodiscard]] std::string pickle_none();
/// RuntimeError(text): makes the worker raise and its engine answer with an error.
[[nodiscard]] std::string pickle_abort(std::string_view text);

}  // namespace ckpt
