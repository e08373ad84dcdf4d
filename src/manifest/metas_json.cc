#include "manifest/metas_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace ckpt {
namespace {

/// A JSON document, written front to back: one with 140,000 tensors is no place for a tree of nodes.
class JsonText {
 public:
  JsonText& raw(std::string_view text) {
    out_ += text;
    return *this;
  }
  JsonText& number(std::uint64_t value) {
    fmt::format_to(std::back_inserter(out_), "{}", value);
    return *this;
  }
  JsonText& digest(std::uint64_t value) {
    fmt::format_to(std::back_inserter(out_), "\"{:016x}\"", value);
    return *this;
  }
  JsonText& text(std::string_view value) {
    const bool plain = std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c != 0x7f && c != '"' && c != '\\'; });
    if (plain) return raw("\"").raw(value).raw("\"");
    return raw(nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  /// `[…]` of what `write(item)` writes for each item.
  template <typename Items, typename Write>
  JsonText& list(const Items& items, const Write& write) {
    raw("[");
    bool first = true;
    for (const auto& item : items) {
      if (!std::exchange(first, false)) raw(",");
      write(item);
    }
    return raw("]");
  }
  template <typename Numbers>
  JsonText& numbers(const Numbers& values) {
    return list(values, [this](std::uint64_t value) { number(value); });
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

void write_layout(JsonText& out, const CheckpointLayout& layout) {
  out.raw("{\"packing\":").text(layout.frames.striped ? "striped" : "shares");
  out.raw(",\"bucket_bytes\":").number(layout.frames.options.bucket_bytes);
  if (layout.frames.striped) out.raw(",\"stripe_bytes\":").number(layout.frames.options.stripe_bytes);
  if (!layout.frames.striped) out.raw(",\"shares\":").numbers(layout.frames.shares);
  out.raw(",\"digest\":").digest(digest(layout)).raw("}");
}

void write_parameter(JsonText& out, const Parameter& parameter) {
  out.raw("\n{\"name\":").text(parameter.name).raw(",\"dtype\":").text(name(parameter.dtype)).raw(",\"shape\":").numbers(parameter.shape).raw("}");
}

void write_rank(JsonText& out, const Manifest& manifest) {
  out.raw("\n{\"host\":").text(manifest.host).raw(",\"device_key\":").text(manifest.device_key);
  out.raw(",\"free_device_bytes\":").number(manifest.free_device_bytes).raw(",\"segments\":");
  out.list(manifest.segments, [&](const SegmentInfo& segment) {
    out.raw("{\"address\":").number(segment.address).raw(",\"bytes\":").number(segment.bytes).raw(",\"path\":").text(segment.path).raw("}");
  });
  out.raw(",\"unit_digests\":").list(manifest.digests, [&](const UnitDigest& unit) {
    out.raw("[").number(unit.frame).raw(",").number(unit.stripe).raw(",").digest(unit.xxh3).raw("]");
  });
  out.raw("}");
}

}  // namespace

std::string manifests_json(std::span<const Manifest> manifests) {
  CKPT_CHECK(!manifests.empty());
  const CheckpointLayout& layout = *manifests[0].layout;
  JsonText out;
  out.raw("{\"format\":\"ckpt-engine metas\",\"version\":1,\"checkpoint\":").text(manifests[0].checkpoint).raw(",\n\"layout\":");
  write_layout(out, layout);
  out.raw(",\n\"parameters\":").list(layout.parameters, [&](const Parameter& parameter) { write_parameter(out, parameter); });
  out.raw(",\n\"ranks\":").list(manifests, [&](const Manifest& manifest) { write_rank(out, manifest); });
  return out.raw("}\n").take();
}

}  // namespace ckpt
