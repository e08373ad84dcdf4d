/// Where a worker's update goes: each tensor's shard into the staging arena, checked for completeness before the worker answers prepared.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "holder/copy_crew.h"
#include "holder/model.h"
#include "holder/worker_layout.h"
#include "receiver/receiver.h"

namespace ckpt {

/// Parameters by name. Borrows the model, which must outlive it.
class ParameterIndex {
 public:
  explicit ParameterIndex(const HolderModel& model);
  /// Index of the model's parameter that `parameter` is. invalid_argument: not of this model, or of another dtype or shape.
  [[nodiscard]] Result<std::uint32_t> find(const Parameter& parameter) const;

 private:
  const HolderModel* model_;
  std::unordered_map<std::string_view, std::uint32_t> by_name_;
};

/// What an update did to a worker's memory.
struct StagingReport {
  std::uint64_t bytes = 0;     ///< copied into the arena
  Duration apply_time{};       ///< in apply()
  Duration prepare_time{};     ///< in prepare()
  bool touched_arena = false;  ///< false: the arena is as it was before
};

/// One update. Borrows everything; all must outlive it. Threads: as UpdateSink.
/// Invariant: the digest table is complete before prepare() returns ok.
class ShardSink final : public UpdateSink {
 public:
  ShardSink(const HolderModel& model, const ParameterIndex& index, const WorkerLayout& layout, std::span<std::byte> arena, CopyCrew& crew);

  /// All or nothing of a bucket: every tensor is checked before the first is copied.
  ///   invalid_argument   a tensor that is unknown, of another dtype or shape, or came before
  [[nodiscard]] Status apply(std::span<const ReceivedTensor> tensors) override;
  void released() override {}
  /// invalid_argument: tensors of the model that never came; names the first.
  [[nodiscard]] Status prepare() override;

  [[nodiscard]] const StagingReport& report() const { return report_; }

 private:
  [[nodiscard]] Status check(std::span<const ReceivedTensor> tensors, std::vector<std::uint32_t>& indices);

  const HolderModel& model_;
  const ParameterIndex& index_;
  const WorkerLayout& layout_;
  const std::span<std::byte> arena_;
  CopyCrew& crew_;
  std::vector<bool> received_;
  std::vector<std::uint64_t> digests_;
  StagingReport report_;
};

}  // namespace ckpt
