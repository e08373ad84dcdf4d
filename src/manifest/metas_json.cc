#include "manifest/metas_json.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace ckpt {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

std::string hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

Status bad(std::string_view what) { return {StatusCode::data_corruption, Scope::operation, "metas document: {}", what}; }

json frame_json(const Frame& frame) {
  json stripes = json::array();
  for (const Stripe& stripe : frame.stripes) stripes.push_back(stripe.unit_bytes);
  json placements = json::array();
  for (const Placement& placement : frame.placements) placements.push_back(json::array({placement.parameter, placement.offset_bytes}));
  return {{"placements", placements}, {"stripes", stripes}};
}

json rank_json(const Manifest& manifest) {
  json segments = json::array();
  for (const SegmentInfo& segment : manifest.segments)
    segments.push_back({{"address", segment.address}, {"bytes", segment.bytes}, {"path", segment.path}});
  json digests = json::array();
  for (const UnitDigest& digest : manifest.digests) digests.push_back(json::array({digest.frame, digest.stripe, hex(digest.xxh3)}));
  return {{"host", manifest.host},
          {"device_key", manifest.device_key},
          {"free_device_bytes", manifest.free_device_bytes},
          {"segments", segments},
          {"digests", digests}};
}

/// Reads fields of the right type, and remembers the first that is not.
class FieldReader {
 public:
  template <typename T>
  T get(const json& object, const char* field) {
    const bool there = object.is_object() && object.contains(field);
    if (!there) return miss<T>(field);
    const json& value = object[field];
    if constexpr (std::is_same_v<T, std::string>) return value.is_string() ? value.get<std::string>() : miss<T>(field);
    if constexpr (std::is_same_v<T, bool>) return value.is_boolean() ? value.get<bool>() : miss<T>(field);
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) return number<T>(value, field);
  }
  template <typename T>
  T number(const json& value, const char* field) {
    if (!value.is_number_unsigned()) return miss<T>(field);
    const auto wide = value.get<std::uint64_t>();
    return wide <= std::numeric_limits<T>::max() ? static_cast<T>(wide) : miss<T>(field);
  }
  const json& array(const json& object, const char* field) {
    static const json kNone = json::array();
    if (object.is_object() && object.contains(field) && object[field].is_array()) return object[field];
    static_cast<void>(miss<int>(field));
    return kNone;
  }
  std::uint64_t hexadecimal(const json& value, const char* field) {
    std::uint64_t number = 0;
    const std::string text = value.is_string() ? value.get<std::string>() : std::string();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
    return text.size() == 16 && error == std::errc{} && end == text.data() + 16 ? number : miss<std::uint64_t>(field);
  }
  [[nodiscard]] Status status() const { return missing_.empty() ? Status::success() : bad("field " + missing_ + " is missing or of the wrong type"); }

 private:
  template <typename T>
  T miss(const char* field) {
    if (missing_.empty()) missing_ = field;
    return T{};
  }
  std::string missing_;
};

Result<std::vector<Parameter>> read_parameters(FieldReader& in, const json& document) {
  std::vector<Parameter> parameters;
  for (const json& row : in.array(document, "parameters")) {
    Parameter parameter;
    parameter.name = in.get<std::string>(row, "name");
    const auto dtype = dtype_from_name(in.get<std::string>(row, "dtype"));
    for (const json& dimension : in.array(row, "shape")) parameter.shape.push_back(in.number<std::uint64_t>(dimension, "shape"));
    CKPT_RETURN_IF_ERROR(in.status());
    if (!dtype) return bad("tensor " + parameter.name + " has an unknown dtype");
    parameter.dtype = *dtype;
    const auto bytes = tensor_bytes(parameter.dtype, parameter.shape);
    if (!bytes) return bad("tensor " + parameter.name + ": its size overflows");
    parameter.bytes = *bytes;
    parameters.push_back(std::move(parameter));
  }
  return parameters;
}

Result<Frame> read_frame(FieldReader& in, const json& row, std::span<const Parameter> parameters, std::uint32_t num_ranks) {
  Frame frame;
  for (const json& units : in.array(row, "stripes")) {
    Stripe stripe{frame.bytes, {}};
    if (!units.is_array() || units.size() != num_ranks) return bad("a stripe must have one unit a rank");
    for (const json& unit : units) {
      stripe.unit_bytes.push_back(in.number<std::uint64_t>(unit, "stripes"));
      if (stripe.unit_bytes.back() > (std::uint64_t{1} << 62) || frame.bytes > (std::uint64_t{1} << 62)) return bad("a frame's size overflows");
      frame.bytes += stripe.unit_bytes.back();
    }
    frame.stripes.push_back(std::move(stripe));
  }
  for (const json& placement : in.array(row, "placements")) {
    if (!placement.is_array() || placement.size() != 2) return bad("a placement is [parameter, offset]");
    const Placement placed{in.number<std::uint32_t>(placement[0], "placements"), in.number<std::uint64_t>(placement[1], "placements")};
    CKPT_RETURN_IF_ERROR(in.status());
    if (placed.parameter >= parameters.size() || placed.offset_bytes > frame.bytes ||
        parameters[placed.parameter].bytes > frame.bytes - placed.offset_bytes)
      return bad("a placement lies outside its frame");
    frame.placements.push_back(placed);
  }
  CKPT_RETURN_IF_ERROR(in.status());
  return frame;
}

Manifest read_rank(FieldReader& in, const json& row) {
  Manifest manifest;
  manifest.host = in.get<std::string>(row, "host");
  manifest.device_key = in.get<std::string>(row, "device_key");
  manifest.free_device_bytes = in.get<std::uint64_t>(row, "free_device_bytes");
  for (const json& segment : in.array(row, "segments"))
    manifest.segments.push_back(
        {in.get<std::uint64_t>(segment, "address"), in.get<std::uint64_t>(segment, "bytes"), in.get<std::string>(segment, "path")});
  for (const json& digest : in.array(row, "digests")) {
    const bool triple = digest.is_array() && digest.size() == 3;
    const json none;
    manifest.digests.push_back({in.number<std::uint32_t>(triple ? digest[0] : none, "digests"),
                                in.number<std::uint32_t>(triple ? digest[1] : none, "digests"),
                                in.hexadecimal(triple ? digest[2] : none, "digests")});
  }
  return manifest;
}

}  // namespace

std::string manifests_json(std::span<const Manifest> manifests) {
  CKPT_CHECK(!manifests.empty());
  const CheckpointLayout& layout = *manifests[0].layout;
  json parameters = json::array();
  for (const Parameter& p : layout.parameters) parameters.push_back({{"name", p.name}, {"dtype", name(p.dtype)}, {"shape", p.shape}});
  json frames = json::array();
  for (const Frame& frame : layout.frames.frames) frames.push_back(frame_json(frame));
  json ranks = json::array();
  for (const Manifest& manifest : manifests) ranks.push_back(rank_json(manifest));
  return json{{"format", "ckpt-engine metas"},
              {"version", kVersion},
              {"checkpoint", manifests[0].checkpoint},
              {"layout_digest", hex(digest(layout))},
              {"striped", layout.frames.striped},
              {"parameters", parameters},
              {"frames", frames},
              {"ranks", ranks}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::vector<Manifest>> manifests_from_json(std::string_view text) {
  const json document = json::parse(text, nullptr, false);
  FieldReader in;
  if (!document.is_object()) return bad("it is no JSON object");
  if (in.get<std::string>(document, "format") != "ckpt-engine metas") return bad("it is not of this format");
  if (const int version = in.get<int>(document, "version"); version != kVersion)
    return bad(fmt::format("version {} is unknown; this build reads {}", version, kVersion));
  auto layout = std::make_shared<CheckpointLayout>();
  CKPT_ASSIGN_OR_RETURN(layout->parameters, read_parameters(in, document));
  const json& ranks = in.array(document, "ranks");
  layout->frames.num_ranks = static_cast<std::uint32_t>(ranks.size());
  layout->frames.striped = in.get<bool>(document, "striped");
  if (ranks.empty()) return bad("it has no ranks");
  for (const json& row : in.array(document, "frames")) {
    CKPT_ASSIGN_OR_RETURN(Frame frame, read_frame(in, row, layout->parameters, layout->frames.num_ranks));
    layout->frames.frame_bytes = std::max(layout->frames.frame_bytes, frame.bytes);
    layout->frames.frames.push_back(std::move(frame));
  }
  std::vector<Manifest> manifests;
  for (const json& row : ranks) {
    manifests.push_back(read_rank(in, row));
    manifests.back().rank = static_cast<std::uint32_t>(manifests.size() - 1);
    manifests.back().checkpoint = in.get<std::string>(document, "checkpoint");
    manifests.back().layout = layout;
  }
  const std::uint64_t stated = in.hexadecimal(document.value("layout_digest", json()), "layout_digest");
  CKPT_RETURN_IF_ERROR(in.status());
  if (stated != digest(*layout)) return bad("its layout digest does not fit its contents");
  return manifests;
}

}  // namespace ckpt
