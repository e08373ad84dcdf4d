/// Which device a rank drives: the GPU whose number is the rank's place on its host, or host memory.
#pragma once

#include <memory>
#include <string>

#include "base/options.h"
#include "device/device.h"
#include "rendezvous/group.h"

namespace ckpt {

/// A rank's place.
struct RankSeat {
  std::uint32_t rank = 0;
  std::uint32_t local_rank = 0;  ///< among the ranks of its host, by rank
  std::uint32_t num_local = 1;
};

/// From the hosts of all ranks (`host`: equal text, same host). Collective.
[[nodiscard]] Result<RankSeat> find_seat(Group& group, const std::string& host, Deadline deadline);

/// By the options `device` (auto: a GPU where there is one, else host memory) and `device_uuid` (one for each rank of the host, separated by commas).
/// A rank that sees one GPU takes it, whatever its place.
[[nodiscard]] Result<std::unique_ptr<Device>> make_rank_device(const Settings& settings, const RankSeat& seat);

/// ok when all ranks have devices of one kind, and no two the same. Collective: every rank returns the same.
[[nodiscard]] Status agree_on_devices(Group& group, const Device& device, Deadline deadline);

}  // namespace ckpt
