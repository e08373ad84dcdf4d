#include "manifest/manifest_codec.h"

#include "manifest/wire.h"

namespace ckpt {
namespace {

constexpr std::uint8_t kCodecVersion = 1;

struct Message {
  Manifest manifest;
  std::uint64_t layout_digest = 0;
};

Result<Message> decode_message(std::string_view text) {
  WireReader in(text);
  Message message;
  Manifest& m = message.manifest;
  if (in.u8() != kCodecVersion) return Status(StatusCode::data_corruption, Scope::group, "the message is of another version");
  message.layout_digest = in.u64();
  m.checkpoint = in.text();
  m.rank = in.u32();
  m.host = in.text();
  m.device_key = in.text();
  m.free_device_bytes = in.u64();
  const std::uint32_t num_segments = in.u32();
  for (std::uint32_t i = 0; in.fits(num_segments - i, 20) && i < num_segments; ++i) {
    SegmentInfo segment;
    segment.address = in.u64();
    segment.bytes = in.u64();
    segment.path = in.text();
    m.segments.push_back(std::move(segment));
  }
  const std::uint32_t num_digests = in.u32();
  for (std::uint32_t i = 0; in.fits(num_digests - i, 16) && i < num_digests; ++i) {
    UnitDigest digest{};
    digest.frame = in.u32();
    digest.stripe = in.u32();
    digest.xxh3 = in.u64();
    m.digests.push_back(digest);
  }
  if (!in.finished()) return Status(StatusCode::data_corruption, Scope::group, "the message is cut or too long");
  return message;
}

/// Against rank 0's message, which all ranks have, so that all ranks come to the same error.
Status check_message(const Message& message, std::uint32_t rank, const Message& of_rank_0) {
  if (message.manifest.rank != rank)
    return {StatusCode::data_corruption, Scope::group, "the manifest of rank {} says that it is rank {}'s", rank, message.manifest.rank};
  if (message.manifest.checkpoint != of_rank_0.manifest.checkpoint)
    return {StatusCode::failed_precondition, Scope::group, "rank {} registered checkpoint {}, rank 0 {}", rank, message.manifest.checkpoint,
            of_rank_0.manifest.checkpoint};
  if (message.layout_digest != of_rank_0.layout_digest)
    return Status(StatusCode::failed_precondition, Scope::group, "rank {} read other headers than rank 0, or packed them differently", rank)
        .advise("give every rank the same checkpoint, --bucket-size and --stripe-size");
  return Status::success();
}

}  // namespace

std::string encode_manifest(const Manifest& m, std::uint64_t layout_digest) {
  WireWriter out;
  out.u8(kCodecVersion);
  out.u64(layout_digest);
  out.text(m.checkpoint);
  out.u32(m.rank);
  out.text(m.host);
  out.text(m.device_key);
  out.u64(m.free_device_bytes);
  out.u32(static_cast<std::uint32_t>(m.segments.size()));
  for (const SegmentInfo& segment : m.segments) {
    out.u64(segment.address);
    out.u64(segment.bytes);
    out.text(segment.path);
  }
  out.u32(static_cast<std::uint32_t>(m.digests.size()));
  for (const UnitDigest& digest : m.digests) {
    out.u32(digest.frame);
    out.u32(digest.stripe);
    out.u64(digest.xxh3);
  }
  return out.take();
}

Result<std::vector<Manifest>> assemble_manifests(std::span<const std::string_view> messages, const std::shared_ptr<const CheckpointLayout>& layout,
                                                 std::uint64_t layout_digest) {
  std::vector<Message> decoded;
  for (std::uint32_t rank = 0; rank < messages.size(); ++rank) {
    Result<Message> message = decode_message(messages[rank]);
    if (!message.ok()) return message.status().with_note("manifest of rank {}", rank);
    decoded.push_back(std::move(message).value());
    CKPT_RETURN_IF_ERROR(check_message(decoded.back(), rank, decoded.front()));
  }
  if (!decoded.empty() && decoded.front().layout_digest != layout_digest)
    return Status(StatusCode::failed_precondition, Scope::group, "the ranks' manifests are of another layout than this rank's: {:016x}, not {:016x}",
                  decoded.front().layout_digest, layout_digest);
  std::vector<Manifest> manifests;
  for (Message& message : decoded) {
    message.manifest.layout = layout;
    manifests.push_back(std::move(message.manifest));
  }
  return manifests;
}

std::string encode_parameters(std::span<const Parameter> parameters) {
  WireWriter out;
  out.u8(kCodecVersion);
  out.u32(static_cast<std::uint32_t>(parameters.size()));
  for (const Parameter& parameter : parameters) {
    out.text(parameter.name);
    out.u8(static_cast<std::uint8_t>(parameter.dtype));
    out.u32(static_cast<std::uint32_t>(parameter.shape.size()));
    for (const std::uint64_t dimension : parameter.shape) out.u64(dimension);
  }
  return out.take();
}

Result<std::vector<Parameter>> decode_parameters(std::string_view text) {
  WireReader in(text);
  std::vector<Parameter> parameters;
  if (in.u8() != kCodecVersion) return Status(StatusCode::data_corruption, Scope::group, "the list of tensors is of another version");
  const std::uint32_t count = in.u32();
  if (in.fits(count, 9)) parameters.reserve(count);
  for (std::uint32_t i = 0; in.ok() && i < count; ++i) {
    Parameter parameter;
    parameter.name = in.text();
    const std::uint8_t dtype = in.u8();
    const std::uint32_t num_dimensions = in.u32();
    if (in.fits(num_dimensions, 8)) parameter.shape.reserve(num_dimensions);
    for (std::uint32_t d = 0; in.ok() && d < num_dimensions; ++d) parameter.shape.push_back(in.u64());
    if (!in.ok()) break;
    if (dtype >= kNumDTypes) return Status(StatusCode::data_corruption, Scope::group, "tensor {}: unknown dtype {}", parameter.name, dtype);
    parameter.dtype = static_cast<DType>(dtype);
    const auto bytes = tensor_bytes(parameter.dtype, parameter.shape);
    if (!bytes) return Status(StatusCode::data_corruption, Scope::group, "tensor {}: its size overflows", parameter.name);
    parameter.bytes = *bytes;
    parameters.push_back(std::move(parameter));
  }
  if (!in.finished()) return Status(StatusCode::data_corruption, Scope::group, "the list of tensors is cut or too long");
  return parameters;
}

}  // namespace ckpt
