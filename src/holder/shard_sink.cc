#include "holder/shard_sink.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/fault_point.h"
#include "holder/shard_copy.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kWorthSharing = 2 * MiB;  // waking the helpers costs about what copying a megabyte does

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  return text + "]";
}

std::string kind_text(const Parameter& parameter) { return fmt::format("{} {}", name(parameter.dtype), shape_text(parameter.shape)); }

}  // namespace

ParameterIndex::ParameterIndex(const HolderModel& model) : model_(&model) {
  by_name_.reserve(model.parameters.size());
  for (std::uint32_t i = 0; i < model.parameters.size(); ++i) by_name_.emplace(model.parameters[i].name, i);
}

Result<std::uint32_t> ParameterIndex::find(const Parameter& parameter) const {
  const auto found = by_name_.find(parameter.name);
  if (found == by_name_.end())
    return Status(StatusCode::invalid_argument, Scope::operation, "tensor {} is not in this engine's model", parameter.name)
        .advise("send a checkpoint of the model that the engine was started with");
  const Parameter& mine = model_->parameters[found->second];
  if (mine.dtype != parameter.dtype || mine.shape != parameter.shape)
    return Status(StatusCode::invalid_argument, Scope::operation, "tensor {} is {}, in this engine's model {}", parameter.name, kind_text(parameter),
                  kind_text(mine))
        .advise("send a checkpoint of the model that the engine was started with");
  return found->second;
}

ShardSink::ShardSink(const HolderModel& model, const ParameterIndex& index, const WorkerLayout& layout, std::span<std::byte> arena, CopyCrew& crew)
    : model_(model),
      index_(index),
      layout_(layout),
      arena_(arena),
      crew_(crew),
      received_(model.parameters.size()),
      digests_(model.parameters.size()) {}

Status ShardSink::check(std::span<const ReceivedTensor> tensors, std::vector<std::uint32_t>& indices) {
  for (const ReceivedTensor& tensor : tensors) {
    CKPT_ASSIGN_OR_RETURN(const std::uint32_t index, index_.find(tensor.parameter));
    if (received_[index]) return {StatusCode::invalid_argument, Scope::operation, "tensor {} came twice", tensor.parameter.name};
    if (tensor.bytes.size() != model_.parameters[index].bytes)
      return {StatusCode::data_corruption, Scope::operation,    "tensor {}: {} bytes where {} belong",
              tensor.parameter.name,       tensor.bytes.size(), model_.parameters[index].bytes};
    received_[index] = true;
    indices.push_back(index);
  }
  return Status::success();
}

Status ShardSink::apply(std::span<const ReceivedTensor> tensors) {
  const TimePoint begin = Clock::real().now();
  CKPT_FAULT_POINT("holder.before_apply");
  std::vector<std::uint32_t> indices;
  indices.reserve(tensors.size());
  CKPT_RETURN_IF_ERROR(check(tensors, indices));
  report_.touched_arena = report_.touched_arena || !tensors.empty();

  std::uint64_t bytes = 0;
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  for (const std::uint32_t index : indices) bytes += layout_.shards[index].shard.bytes();
  // Largest first: the threads then end at about the same time.
  if (bytes >= kWorthSharing)
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return layout_.shards[indices[a]].shard.bytes() > layout_.shards[indices[b]].shard.bytes(); });
  const auto copy_one = [&](std::size_t i) {
    const PlacedShard& placed = layout_.shards[indices[order[i]]];
    digests_[indices[order[i]]] = copy_shard(placed.shard, tensors[order[i]].bytes, arena_.subspan(placed.offset_bytes, placed.shard.bytes()));
  };
  if (bytes >= kWorthSharing) {
    crew_.run(tensors.size(), copy_one);
  } else {
    for (std::size_t i = 0; i < tensors.size(); ++i) copy_one(i);
  }
  report_.bytes += bytes;
  report_.apply_time += Clock::real().now() - begin;
  return Status::success();
}

Status ShardSink::prepare() {
  const TimePoint begin = Clock::real().now();
  CKPT_FAULT_POINT("holder.before_prepared");
  const auto missing = std::find(received_.begin(), received_.end(), false);
  if (missing != received_.end())
    return Status(StatusCode::invalid_argument, Scope::operation, "{} of the model's {} tensors never came, first {}",
                  std::count(received_.begin(), received_.end(), false), received_.size(),
                  model_.parameters[static_cast<std::size_t>(missing - received_.begin())].name)
        .advise("send a checkpoint of the model that the engine was started with");
  if (!digests_.empty()) std::memcpy(arena_.data() + layout_.digests_offset_bytes, digests_.data(), digests_.size() * sizeof(std::uint64_t));
  report_.touched_arena = true;
  report_.prepare_time = Clock::real().now() - begin;
  return Status::success();
}

}  // namespace ckpt
