/// Checkpoints of a few MB for tests of any library that may use `checkpoint`.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "checkpoint/content.h"
#include "checkpoint/synthetic.h"
#include "checkpoint/writer.h"
#include "os/output_file.h"
#include "support/matchers.h"

namespace ckpt::testing {

/// Writes `shape` (tiny-qwen3, tiny-qwen3-moe, tiny-deepseek-fp8) with its config.json into `directory` and returns its parameters.
inline std::vector<Parameter> write_tiny_checkpoint(const std::string& directory, std::string_view shape = "tiny-qwen3", std::uint64_t seed = 1,
                                                    std::uint32_t num_shards = 1) {
  Result<SyntheticModel> model = make_synthetic_model(shape, 64 * MiB);
  EXPECT_OK(model);
  WriteOptions options;
  options.seed = seed;
  options.num_shards = num_shards;
  EXPECT_OK(write_checkpoint(directory, model->parameters, options));
  EXPECT_OK(write_small_file(directory + "/config.json", model->config_json));
  return std::move(model->parameters);
}

/// The bytes that `parameter` has in a checkpoint of `seed`.
inline Bytes tiny_content(const Parameter& parameter, std::uint64_t seed) {
  Bytes bytes(parameter.bytes);
  fill_content(parameter, seed, 0, bytes);
  return bytes;
}

}  // namespace ckpt::testing
