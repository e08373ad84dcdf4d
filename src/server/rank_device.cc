#include "server/rank_device.h"

#include <map>
#include <vector>

#include "base/heap.h"
#include "base/log.h"
#include "device/cuda/cuda_device.h"
#include "device/host/host_device.h"

namespace ckpt {
namespace {

/// The entry of this rank; empty where the list is.
Result<std::string> own_uuid(const std::string& list, const RankSeat& seat) {
  if (list.empty()) return std::string();
  std::vector<std::string> uuids;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    uuids.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  if (uuids.size() == seat.num_local) return uuids[seat.local_rank];
  return Status(StatusCode::invalid_argument, Scope::operation, "--device-uuid names {} device(s), and this host has {} rank(s)", uuids.size(),
                seat.num_local)
      .advise("give one for each rank of the host, separated by commas");
}

Result<std::unique_ptr<Device>> make_gpu(const std::string& uuids, const RankSeat& seat) {
  CKPT_ASSIGN_OR_RETURN(const int count, cuda_device_count());
  CKPT_ASSIGN_OR_RETURN(std::string uuid, own_uuid(uuids, seat));
  return make_cuda_device({count == 1 ? 0 : static_cast<int>(seat.local_rank), std::move(uuid)});
}

}  // namespace

Result<RankSeat> find_seat(Group& group, const std::string& host, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> hosts, group.all_gather("hosts", to_bytes(host), deadline));
  RankSeat seat{group.rank(), 0, 0};
  for (std::uint32_t rank = 0; rank < hosts.size(); ++rank) {
    if (as_text(hosts[rank]) != host) continue;
    if (rank < seat.rank) ++seat.local_rank;
    ++seat.num_local;
  }
  return seat;
}

Result<std::unique_ptr<Device>> make_rank_device(const Settings& settings, const RankSeat& seat) {
  const std::string& kind = settings.text("device");
  if (kind != "auto" && kind != "cuda" && kind != "host")
    return Status(StatusCode::invalid_argument, Scope::operation, "--device {}: give auto, cuda or host", kind);
  if (kind != "host") {
    const LibraryHeapScope of_the_driver;
    Result<std::unique_ptr<Device>> gpu = make_gpu(settings.text("device_uuid"), seat);
    if (gpu.ok() || kind == "cuda" || gpu.status().scope() != Scope::process) return gpu;  // scope process: there is none
    log_debug("no GPU is used: {}", gpu.status().to_string());
  }
  return make_host_device({static_cast<int>(seat.rank), 0});
}

Status agree_on_devices(Group& group, const Device& device, Deadline deadline) {
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all,
                        group.all_gather("devices", to_bytes(fmt::format("{} {}", device.kind(), device.key())), deadline));
  std::map<std::string, std::size_t> rank_of;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const std::string own(as_text(all[rank]));
    const std::string kind = own.substr(0, own.find(' '));
    if (const std::string first(as_text(all[0])); kind != first.substr(0, first.find(' ')))
      return Status(StatusCode::invalid_argument, Scope::group, "rank 0 has a device of kind {} and rank {} one of kind {}",
                    first.substr(0, first.find(' ')), rank, kind)
          .advise("give --device cuda or --device host");
    if (const auto [other, fresh] = rank_of.emplace(own, rank); !fresh)
      return Status(StatusCode::invalid_argument, Scope::group, "ranks {} and {} have the same GPU, {}", other->second, rank,
                    own.substr(kind.size() + 1))
          .advise("start no more ranks on a host than it has GPUs, and check CUDA_VISIBLE_DEVICES");
  }
  return Status::success();
}

}  // namespace ckpt
