#include "server/update_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ckpt {

std::string encode_rank_report(const UpdateReport& report) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageReport& stage : report.stages) stages.push_back({{"bytes", stage.bytes}, {"seconds", stage.seconds}});
  return nlohmann::json{
      {"stages", stages},          {"seconds", report.seconds},        {"heap", report.own_heap_bytes}, {"kept", report.kept_versions},
      {"pool", report.pool_bytes}, {"arenas", report.pool_arenas_made}}
      .dump();
}

Status merge_rank_report(std::string_view text, UpdateReport& into) {
  const nlohmann::json document = nlohmann::json::parse(text, nullptr, false);
  const bool fits = document.is_object() && document.contains("stages") && document["stages"].is_array() && document["stages"].size() == kNumStages;
  if (!fits) return {StatusCode::data_corruption, Scope::group, "a rank's report cannot be read"};
  for (std::size_t i = 0; i < kNumStages; ++i) {
    const nlohmann::json& stage = document["stages"][i];
    into.stages[i].bytes += stage.value("bytes", std::uint64_t{0});
    into.stages[i].seconds = std::max(into.stages[i].seconds, stage.value("seconds", 0.0));
  }
  into.seconds = std::max(into.seconds, document.value("seconds", 0.0));
  into.own_heap_bytes = std::max(into.own_heap_bytes, document.value("heap", std::uint64_t{0}));
  into.kept_versions = std::min(into.kept_versions, document.value("kept", 0u));
  into.pool_bytes = std::max(into.pool_bytes, document.value("pool", std::uint64_t{0}));
  into.pool_arenas_made = std::max(into.pool_arenas_made, document.value("arenas", 0u));
  return Status::success();
}

std::string report_json(const UpdateReport& r, double memcpy_bytes_per_s) {
  nlohmann::json stages = nlohmann::json::object();
  for (std::size_t i = 0; i < kNumStages; ++i)
    stages[std::string(name(static_cast<Stage>(i)))] = {{"bytes", r.stages[i].bytes}, {"seconds", r.stages[i].seconds}};
  nlohmann::json json{{"checkpoint", r.checkpoint},
                      {"version", r.version},
                      {"ranks", r.num_ranks},
                      {"engines", r.num_engines},
                      {"idle_groups", r.num_idle_groups},
                      {"tensors", r.num_tensors},
                      {"checkpoint_bytes", r.checkpoint_bytes},
                      {"frames", r.num_frames},
                      {"slots", r.num_slots},
                      {"slot_bytes", r.slot_bytes},
                      {"verified", r.verified},
                      {"lane", r.lane},
                      {"notes", r.notes},
                      {"stages", stages},
                      {"seconds", r.seconds},
                      {"kept_versions", r.kept_versions},
                      {"pool_bytes", r.pool_bytes},
                      {"pool_arenas_made", r.pool_arenas_made},
                      {"own_heap_bytes", r.own_heap_bytes}};
  if (memcpy_bytes_per_s > 0) json["memcpy_bytes_per_s"] = memcpy_bytes_per_s;
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ckpt
