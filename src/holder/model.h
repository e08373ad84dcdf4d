/// What the engine knows of its model before any weights come: names, shapes and dtypes, and the facts of config.json that the TP rules need.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "ckpt/result.h"
#include "holder/tp_layout.h"
#include "manifest/parameter.h"

namespace ckpt {

struct HolderModel {
  TpConfig config;
  std::vector<Parameter> parameters;
};

/// From the safetensors headers and config.json of `directory`; no tensor is read.
[[nodiscard]] Result<HolderModel> load_model(const std::string& directory);

/// For the memory through which the front hands the model to its workers, also long after the directory has changed.
[[nodiscard]] Bytes encode_model(const HolderModel& model);
[[nodiscard]] Result<HolderModel> decode_model(const Bytes& encoded);

}  // namespace ckpt
