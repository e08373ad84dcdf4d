#include "holder/handle_map.h"

#include <charconv>

#include "base/bytes.h"
#include "os/file.h"

namespace ckpt {
namespace {

constexpr std::string_view kHostPrefix = "HOST-";

Status bad_key(std::string_view key, std::string_view why) {
  return {StatusCode::invalid_argument, Scope::operation, "handle map: key \"{}\": {}", key.substr(0, 200), why};
}

bool names_a_gpu(std::string_view key) { return key.starts_with("GPU-") || key.starts_with("MIG-"); }

/// The rank of a key of host memory.
Result<std::uint64_t> rank_of_key(std::string_view key, std::string_view boot_id) {
  if (!key.starts_with(kHostPrefix)) return bad_key(key, "neither HOST-…, GPU-… nor MIG-…");
  const std::size_t dash = key.rfind('-');
  const std::string_view host = dash < kHostPrefix.size() ? std::string_view{} : key.substr(kHostPrefix.size(), dash - kHostPrefix.size());
  std::uint64_t rank = 0;
  const auto [end, error] = std::from_chars(key.data() + dash + 1, key.data() + key.size(), rank);
  if (host.empty() || error != std::errc{} || end != key.data() + key.size()) return bad_key(key, "not of the form HOST-<boot id>-<rank>");
  if (host != boot_id) return bad_key(key, fmt::format("the sender is on another host; this one is {}", boot_id));
  return rank;
}

}  // namespace

Result<std::vector<std::string>> addresses_of_workers(const std::map<std::string, std::string>& handles, std::uint32_t tp, std::string_view boot_id) {
  const bool gpus = !handles.empty() && names_a_gpu(handles.begin()->first);
  std::map<std::uint64_t, std::string> by_rank;
  for (const auto& [key, address] : handles) {
    std::uint64_t rank = by_rank.size();  // of GPUs, in the order of their keys: every worker is sent whole tensors, so that any will do
    if (gpus != names_a_gpu(key)) return bad_key(key, "a GPU among host memory, or the other way round");
    if (!gpus) {
      CKPT_ASSIGN_OR_RETURN(rank, rank_of_key(key, boot_id));
    }
    if (!by_rank.emplace(rank, address).second) return bad_key(key, "its rank is there twice");
  }
  if (by_rank.size() != tp)
    return Status(StatusCode::invalid_argument, Scope::operation, "handle map: {} entries for {} workers", by_rank.size(), tp)
        .advise("give the sender --inference-parallel-size equal to the engine's --tp");
  std::vector<std::string> addresses;
  for (auto& [rank, address] : by_rank) addresses.push_back(std::move(address));
  return addresses;
}

Result<std::string> read_boot_id() {
  CKPT_ASSIGN_OR_RETURN(const Bytes text, read_small_file("/proc/sys/kernel/random/boot_id"));
  return std::string(as_text(text).substr(0, as_text(text).find('\n')));
}

}  // namespace ckpt
