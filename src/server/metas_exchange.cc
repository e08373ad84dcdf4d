#include "server/metas_exchange.h"

#include <unordered_map>

#include "manifest/manifest_codec.h"

namespace ckpt {
namespace {

Status check_names(std::span<const Parameter> parameters, std::span<const std::uint32_t> owner) {
  std::unordered_map<std::string_view, std::uint32_t> seen;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto [found, fresh] = seen.emplace(parameters[i].name, owner[i]);
    if (!fresh)
      return Status(StatusCode::invalid_argument, Scope::group, "tensor {} is in the shares of rank {} and rank {}", parameters[i].name,
                    found->second, owner[i])
          .advise("give each file to one rank only");
  }
  return Status::success();
}

}  // namespace

Result<ShareLayout> gather_shares(Group& group, const Checkpoint& mine, const FrameOptions& options, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> lists, group.all_gather("shares", to_bytes(encode_parameters(mine.parameters)), deadline));
  auto layout = std::make_shared<CheckpointLayout>();
  ShareLayout shares{nullptr, {mine.files, {}, {}}};
  std::vector<std::uint32_t> owner;
  for (std::uint32_t rank = 0; rank < lists.size(); ++rank) {
    Result<std::vector<Parameter>> list = decode_parameters(as_text(lists[rank]));
    if (!list.ok()) return list.status().with_note("share of rank {}", rank);
    for (std::size_t i = 0; i < list->size(); ++i) {
      shares.checkpoint.locations.push_back(rank == group.rank() ? mine.locations[i] : TensorLocation{0, 0});
      layout->parameters.push_back(std::move((*list)[i]));
      owner.push_back(rank);
    }
  }
  CKPT_RETURN_IF_ERROR(check_names(layout->parameters, owner));
  CKPT_ASSIGN_OR_RETURN(layout->frames,
                        make_share_layout(layout->parameters, owner, group.size(), fit_frames(options, layout->parameters, group.size())));
  shares.checkpoint.parameters = layout->parameters;
  shares.layout = std::move(layout);
  return shares;
}

Result<std::vector<Manifest>> gather_manifests(Group& group, const Manifest& mine, std::uint64_t layout_digest, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> messages, group.all_gather("metas", to_bytes(encode_manifest(mine, layout_digest)), deadline));
  std::vector<std::string_view> texts;
  for (const Bytes& message : messages) texts.push_back(as_text(message));
  return assemble_manifests(texts, mine.layout, layout_digest);
}

}  // namespace ckpt
