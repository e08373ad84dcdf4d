/// How much more memory this process tree may take: the tightest of the system and of each control group around it.
#pragma once

#include <cstdint>
#include <string>

#include "ckpt/result.h"

namespace ckpt {

struct MemoryRoom {
  std::uint64_t bytes = 0;
  std::string bound;  ///< what sets it: "MemAvailable", or the control group's file
};

/// From /proc/meminfo, /proc/self/cgroup and the groups' files (v2 and v1) up to the root. Page cache that a group would give up counts as room.
/// `root` is put before the paths: tests have their own.
[[nodiscard]] Result<MemoryRoom> read_memory_room(const std::string& root = "");

/// ok when the copies fit; else resource_exhausted with the missing bytes, and whether giving up the second copy would do.
[[nodiscard]] Status check_room_for_weights(std::uint64_t one_copy_bytes, bool in_place, const MemoryRoom& room);

}  // namespace ckpt
