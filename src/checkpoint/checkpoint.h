/// A Hugging Face checkpoint directory, from its headers alone: the start of the data path. Nothing of the tensors' bytes is read here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ckpt/result.h"
#include "manifest/parameter.h"

namespace ckpt {

class TensorMemory;

/// Where one tensor's bytes lie.
struct TensorLocation {
  std::uint32_t file;          ///< index into Checkpoint::files
  std::uint64_t offset_bytes;  ///< from the start of the file, header included
};

struct CheckpointFile {
  std::string path;  ///< absolute or as given, symlinks not resolved
  std::uint64_t bytes = 0;
  std::map<std::string, std::string> metadata;      ///< `__metadata__`
  std::int64_t modified_ns = 0;                     ///< when its header was read; 0: not known, for files of another rank
  std::shared_ptr<const TensorMemory> memory = {};  ///< not a file but a caller's tensors (tensor_memory.h), until they have been copied; else null
};

/// Parameters in file order: files by name, tensors by offset (then by name where they have no bytes). `locations[i]` belongs to `parameters[i]`.
/// Equal directories give equal checkpoints on every rank.
struct Checkpoint {
  std::vector<CheckpointFile> files;
  std::vector<Parameter> parameters;
  std::vector<TensorLocation> locations;

  [[nodiscard]] std::uint64_t total_bytes() const;  ///< of the tensors
};

/// Reads `model.safetensors.index.json` and the shards it names, or the one safetensors file of `directory` (or several without an index, all of
/// them). Refuses whatever the format forbids, naming file, tensor and reason: data_corruption, not_found, invalid_argument, resource_exhausted
/// (header > 100 MB).
[[nodiscard]] Result<Checkpoint> open_checkpoint(const std::string& directory);

/// The same for files given one by one (a caller's share).
[[nodiscard]] Result<Checkpoint> open_checkpoint_files(std::span<const std::string> paths);

/// A checkpoint as far as it can be read, and what is wrong with it.
struct CheckpointSurvey {
  Checkpoint checkpoint;
  std::vector<Status> problems;  ///< as open_checkpoint gives them, at most as many as asked for; empty: nothing is wrong
};

/// Like open_checkpoint, but goes on behind a problem: for people who want to know all of them.
[[nodiscard]] CheckpointSurvey survey_checkpoint(const std::string& directory, std::size_t max_problems);

/// ok if engines can take every tensor; else invalid_argument naming the first one they cannot (sub-byte, complex) and its file.
[[nodiscard]] Status check_engines_take(const Checkpoint& checkpoint);

}  // namespace ckpt
