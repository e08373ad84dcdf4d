/// Which bytes of each tensor the worker of one tensor-parallel rank keeps. The rules are the table at the top of tp_layout.cc.
///
///   rows      dimension 0 cut        |r0 r0 r0|r1 r1 r1|            one run of bytes
///   columns   dimension 1 cut        |r0 r1|                        one run a row: the stride is the whole row
///                                    |r0 r1|
///   heads     fewer heads than tp    |h0|h1|  r0 r1 hold h0, r2 r3 hold h1
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ckpt/result.h"
#include "manifest/parameter.h"

namespace ckpt {

/// What the rules need of a model's config.json. 0: not given there.
struct TpConfig {
  std::uint64_t num_attention_heads = 0;
  std::uint64_t num_key_value_heads = 0;
  std::uint64_t scale_block_rows = 0;  ///< of FP8 weights with block scales
  std::uint64_t scale_block_columns = 0;

  friend bool operator==(const TpConfig&, const TpConfig&) = default;
};

/// A worker's part of one tensor: `num_runs` runs of `run_bytes`, `stride_bytes` apart in the whole tensor, back to back in the shard.
struct TensorShard {
  std::vector<std::uint64_t> shape;
  std::uint64_t source_offset_bytes = 0;
  std::uint64_t num_runs = 0;
  std::uint64_t run_bytes = 0;
  std::uint64_t stride_bytes = 0;

  [[nodiscard]] std::uint64_t bytes() const { return num_runs * run_bytes; }
  friend bool operator==(const TensorShard&, const TensorShard&) = default;
};

/// The shard of every parameter, by index. invalid_argument names the tensor that does not divide, or whose cut would lie inside a scale block or
/// a head. Pure.
[[nodiscard]] Result<std::vector<TensorShard>> make_tp_layout(std::span<const Parameter> parameters, const TpConfig& config, std::uint32_t tp,
                                                              std::uint32_t rank);

}  // namespace ckpt
