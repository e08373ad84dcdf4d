// Reads a metas document: the one place where untrusted JSON becomes manifests.
#include <simdjson.h>

#include <array>
#include <charconv>
#include <unordered_set>

#include "manifest/layout_limits.h"
#include "manifest/metas_json.h"

namespace ckpt {
namespace {

namespace dom = simdjson::dom;

constexpr std::uint64_t kVersion = 1;

/// Where in the document, written out only for an error.
struct Place {
  std::string_view list;
  std::optional<std::size_t> index = std::nullopt;
};

template <typename... Args>
Status bad(const Place& place, fmt::format_string<Args...> format, Args&&... args) {
  const std::string where = place.index ? fmt::format("{}[{}]", place.list, *place.index) : std::string(place.list);
  return {StatusCode::data_corruption, Scope::operation, "{}: {}", where, fmt::format(format, std::forward<Args>(args)...)};
}

/// The values of exactly these fields, in this order.
template <std::size_t N>
Result<std::array<dom::element, N>> fields(const dom::element& value, const Place& place, const std::array<std::string_view, N>& names) {
  dom::object object;
  if (value.get_object().get(object)) return bad(place, "it is no object");
  std::array<dom::element, N> values;
  std::array<bool, N> found{};
  for (const auto [key, content] : object) {
    const auto at = static_cast<std::size_t>(std::find(names.begin(), names.end(), key) - names.begin());
    if (at == N) return bad(place, "unknown field \"{}\"", key);
    if (std::exchange(found[at], true)) return bad(place, "field {} stands twice", key);
    values[at] = content;
  }
  for (std::size_t i = 0; i < N; ++i)
    if (!found[i]) return bad(place, "field {} is missing", names[i]);
  return values;
}

Result<std::string_view> text(const dom::element& value, const Place& place, std::string_view field) {
  std::string_view result;
  if (value.get_string().get(result)) return bad(place, "{} is no text", field);
  return result;
}

Result<std::uint64_t> number(const dom::element& value, const Place& place, std::string_view field,
                             std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) {
  std::uint64_t result = 0;
  if (value.get_uint64().get(result)) return bad(place, "{} is no whole number from 0 to 2^64 - 1", field);
  if (result > most) return bad(place, "{} is {}, more than {}", field, result, most);
  return result;
}

Result<dom::array> list(const dom::element& value, const Place& place, std::string_view field) {
  dom::array result;
  if (value.get_array().get(result)) return bad(place, "{} is no list", field);
  return result;
}

Result<std::uint64_t> digest_of(const dom::element& value, const Place& place, std::string_view field) {
  CKPT_ASSIGN_OR_RETURN(const std::string_view digits, text(value, place, field));
  std::uint64_t result = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), result, 16);
  if (digits.size() != 16 || error != std::errc{} || end != digits.data() + 16) return bad(place, "{} is not 16 hexadecimal digits", field);
  return result;
}

Result<Parameter> read_parameter(const dom::element& value, const Place& place) {
  CKPT_ASSIGN_OR_RETURN(const auto row, fields<3>(value, place, {"name", "dtype", "shape"}));
  CKPT_ASSIGN_OR_RETURN(const std::string_view name, text(row[0], place, "name"));
  CKPT_ASSIGN_OR_RETURN(const std::string_view dtype_name, text(row[1], place, "dtype"));
  CKPT_ASSIGN_OR_RETURN(const dom::array shape, list(row[2], place, "shape"));
  const auto dtype = dtype_from_name(dtype_name);
  if (!dtype) return bad(place, "tensor {} is of the unknown dtype {}", name, dtype_name);
  Parameter parameter{std::string(name), *dtype, {}, 0};
  for (const dom::element dimension : shape) {
    CKPT_ASSIGN_OR_RETURN(const std::uint64_t size, number(dimension, place, "a dimension of the shape"));
    parameter.shape.push_back(size);
  }
  const auto bytes = tensor_bytes(parameter.dtype, parameter.shape);
  if (!bytes) return bad(place, "the size of tensor {} overflows or is no whole number of bytes", name);
  parameter.bytes = *bytes;
  return parameter;
}

Result<std::vector<Parameter>> read_parameters(const dom::element& value) {
  CKPT_ASSIGN_OR_RETURN(const dom::array rows, list(value, {"document"}, "parameters"));
  std::vector<Parameter> parameters;
  parameters.reserve(rows.size());
  for (const dom::element row : rows) {
    CKPT_ASSIGN_OR_RETURN(Parameter parameter, read_parameter(row, {"parameters", parameters.size()}));
    parameters.push_back(std::move(parameter));
  }
  std::unordered_set<std::string_view> names;
  names.reserve(parameters.size());
  for (const Parameter& parameter : parameters)
    if (!names.insert(parameter.name).second) return bad({"parameters"}, "tensor {} stands twice", parameter.name);
  return parameters;
}

Result<FrameLayout> read_shares(const dom::element& value, std::span<const Parameter> parameters, std::uint32_t num_ranks) {
  const Place place{"layout"};
  CKPT_ASSIGN_OR_RETURN(const auto row, fields<4>(value, place, {"packing", "bucket_bytes", "shares", "digest"}));
  FrameOptions options;
  CKPT_ASSIGN_OR_RETURN(options.bucket_bytes, number(row[1], place, "bucket_bytes"));
  CKPT_ASSIGN_OR_RETURN(const dom::array shares, list(row[2], place, "shares"));
  std::vector<std::uint32_t> owner;
  std::uint32_t rank = 0;
  for (const dom::element share : shares) {
    CKPT_ASSIGN_OR_RETURN(const std::uint64_t count, number(share, place, "a share", parameters.size() - owner.size()));
    owner.insert(owner.end(), count, rank++);
  }
  if (rank != num_ranks || owner.size() != parameters.size())
    return bad(place, "{} shares of {} tensors in all, for {} ranks and {} tensors", rank, owner.size(), num_ranks, parameters.size());
  return make_share_layout(parameters, owner, num_ranks, options);
}

Result<FrameLayout> read_striped(const dom::element& value, std::span<const Parameter> parameters, std::uint32_t num_ranks) {
  const Place place{"layout"};
  CKPT_ASSIGN_OR_RETURN(const auto row, fields<4>(value, place, {"packing", "bucket_bytes", "stripe_bytes", "digest"}));
  FrameOptions options;
  CKPT_ASSIGN_OR_RETURN(options.bucket_bytes, number(row[1], place, "bucket_bytes"));
  CKPT_ASSIGN_OR_RETURN(options.stripe_bytes, number(row[2], place, "stripe_bytes"));
  return make_striped_layout(parameters, num_ranks, options);
}

/// Packs the tensors again, as the writer did.
Result<FrameLayout> read_layout(const dom::element& value, std::span<const Parameter> parameters, std::uint32_t num_ranks) {
  const Place place{"layout"};
  std::string_view packing;
  if (value["packing"].get_string().get(packing)) return bad(place, "field packing is missing or no text");
  if (packing != "striped" && packing != "shares") return bad(place, "packing {} is unknown", packing);
  Result<FrameLayout> frames = packing == "striped" ? read_striped(value, parameters, num_ranks) : read_shares(value, parameters, num_ranks);
  if (!frames.ok()) return frames.status().code() == StatusCode::data_corruption ? frames : bad(place, "{}", frames.status().message());
  return frames;
}

Result<std::vector<SegmentInfo>> read_segments(const dom::element& value, const Place& place) {
  CKPT_ASSIGN_OR_RETURN(const dom::array rows, list(value, place, "segments"));
  std::vector<SegmentInfo> segments;
  for (const dom::element row : rows) {
    CKPT_ASSIGN_OR_RETURN(const auto parts, fields<3>(row, place, {"address", "bytes", "path"}));
    SegmentInfo segment;
    CKPT_ASSIGN_OR_RETURN(segment.address, number(parts[0], place, "address"));
    CKPT_ASSIGN_OR_RETURN(segment.bytes, number(parts[1], place, "bytes", std::numeric_limits<std::uint64_t>::max() - segment.address));
    CKPT_ASSIGN_OR_RETURN(segment.path, text(parts[2], place, "path"));
    segments.push_back(std::move(segment));
  }
  return segments;
}

Result<std::vector<UnitDigest>> read_unit_digests(const dom::element& value, const Place& place, const FrameLayout& layout) {
  CKPT_ASSIGN_OR_RETURN(const dom::array rows, list(value, place, "unit_digests"));
  std::vector<UnitDigest> digests;
  for (const dom::element row : rows) {
    CKPT_ASSIGN_OR_RETURN(const dom::array parts, list(row, place, "an entry of unit_digests"));
    if (parts.size() != 3) return bad(place, "an entry of unit_digests has {} values: give frame, stripe and digest", parts.size());
    CKPT_ASSIGN_OR_RETURN(const std::uint64_t frame, number(parts.at(0).value_unsafe(), place, "a frame"));
    CKPT_ASSIGN_OR_RETURN(const std::uint64_t stripe, number(parts.at(1).value_unsafe(), place, "a stripe"));
    if (frame >= layout.frames.size() || stripe >= layout.frames[frame].stripes.size())
      return bad(place, "a digest of frame {} stripe {}, which the layout does not have", frame, stripe);
    CKPT_ASSIGN_OR_RETURN(const std::uint64_t xxh3, digest_of(parts.at(2).value_unsafe(), place, "a unit's digest"));
    digests.push_back({static_cast<std::uint32_t>(frame), static_cast<std::uint32_t>(stripe), xxh3});
  }
  return digests;
}

Result<Manifest> read_rank(const dom::element& value, const Place& place, const FrameLayout& layout) {
  CKPT_ASSIGN_OR_RETURN(const auto row, fields<5>(value, place, {"host", "device_key", "free_device_bytes", "segments", "unit_digests"}));
  Manifest manifest;
  CKPT_ASSIGN_OR_RETURN(manifest.host, text(row[0], place, "host"));
  CKPT_ASSIGN_OR_RETURN(manifest.device_key, text(row[1], place, "device_key"));
  CKPT_ASSIGN_OR_RETURN(manifest.free_device_bytes, number(row[2], place, "free_device_bytes"));
  CKPT_ASSIGN_OR_RETURN(manifest.segments, read_segments(row[3], place));
  CKPT_ASSIGN_OR_RETURN(manifest.digests, read_unit_digests(row[4], place, layout));
  return manifest;
}

/// Format and version come before everything else: another version may have other fields.
Status check_version(const dom::element& document) {
  std::string_view format;
  if (!document.is_object()) return bad({"document"}, "it is no JSON object");
  if (document["format"].get_string().get(format) || format != "ckpt-engine metas")
    return bad({"document"}, "field format does not say \"ckpt-engine metas\"");
  std::uint64_t version = 0;
  if (document["version"].get_uint64().get(version)) return bad({"document"}, "field version is missing or no whole number");
  if (version != kVersion) return bad({"document"}, "version {} is unknown: this build reads version {}", version, kVersion);
  return Status::success();
}

Result<std::vector<Manifest>> read_document(const dom::element& document) {
  CKPT_RETURN_IF_ERROR(check_version(document));
  const Place place{"document"};
  CKPT_ASSIGN_OR_RETURN(const auto row, fields<6>(document, place, {"format", "version", "checkpoint", "layout", "parameters", "ranks"}));
  CKPT_ASSIGN_OR_RETURN(const std::string_view checkpoint, text(row[2], place, "checkpoint"));
  CKPT_ASSIGN_OR_RETURN(const dom::array ranks, list(row[5], place, "ranks"));
  std::uint32_t num_ranks = 0;
  for ([[maybe_unused]] const dom::element rank : ranks)  // array::size() stops at 2^24
    if (++num_ranks > kMostRanks) return bad(place, "more than {} ranks", kMostRanks);
  auto layout = std::make_shared<CheckpointLayout>();
  CKPT_ASSIGN_OR_RETURN(layout->parameters, read_parameters(row[4]));
  CKPT_ASSIGN_OR_RETURN(layout->frames, read_layout(row[3], layout->parameters, num_ranks));
  CKPT_ASSIGN_OR_RETURN(const std::uint64_t stated, digest_of(row[3]["digest"].value_unsafe(), {"layout"}, "digest"));
  if (const std::uint64_t actual = digest(*layout); stated != actual)
    return bad({"layout"}, "digest {:016x} does not fit the tensors, which pack to {:016x}", stated, actual);
  std::vector<Manifest> manifests;
  for (const dom::element rank : ranks) {
    CKPT_ASSIGN_OR_RETURN(Manifest manifest, read_rank(rank, {"ranks", manifests.size()}, layout->frames));
    manifest.rank = static_cast<std::uint32_t>(manifests.size());
    manifest.checkpoint = checkpoint;
    manifest.layout = layout;
    manifests.push_back(std::move(manifest));
  }
  return manifests;
}

}  // namespace

Result<std::vector<Manifest>> manifests_from_json(std::string_view text) {
  dom::parser parser;
  dom::element document;
  if (const auto error = parser.parse(text.data(), text.size()).get(document))
    return Status(StatusCode::data_corruption, Scope::operation, "metas document: it is no valid JSON: {}", simdjson::error_message(error));
  Result<std::vector<Manifest>> manifests = read_document(document);
  if (!manifests.ok()) return manifests.status().with_note("metas document");
  return manifests;
}

}  // namespace ckpt
