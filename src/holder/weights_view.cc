#include "holder/weights_view.h"

#include <array>
#include <nlohmann/json.hpp>

namespace ckpt {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 4> kStateNames{"empty", "serving", "updating", "torn"};

std::string quoted_json(std::string_view text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

void append_tensor(std::string& out, const Parameter& parameter, const TensorShard& shard, std::uint64_t digest) {
  out += fmt::format(R"({{"name":{},"dtype":"{}","shape":{},"bytes":{},"xxh3":"{:016x}"}})", quoted_json(parameter.name), name(parameter.dtype),
                     json(shard.shape).dump(), shard.bytes(), digest);
}

}  // namespace

std::string_view name(HolderState state) { return kStateNames[static_cast<std::size_t>(state)]; }

std::string WeightsView::to_json() const {
  return fmt::format(R"({{"version":{},"state":"{}","tp":{},"workers":{}}})", version ? quoted_json(*version) : "null", name(state), tp,
                     workers ? *workers : "[]");
}

std::string workers_json(const HolderModel& model, std::span<const WorkerLayout> layouts, std::span<const std::vector<std::uint64_t>> digests) {
  std::string out = "[";
  for (std::size_t rank = 0; rank < layouts.size(); ++rank) {
    out += fmt::format(R"({}{{"rank":{},"tensors":[)", rank == 0 ? "" : ",", rank);
    const bool holds = rank < digests.size() && digests[rank].size() == model.parameters.size();
    for (std::size_t i = 0; holds && i < model.parameters.size(); ++i) {
      if (i != 0) out += ',';
      append_tensor(out, model.parameters[i], layouts[rank].shards[i].shard, digests[rank][i]);
    }
    out += "]}";
  }
  return out + "]";
}

}  // namespace ckpt
