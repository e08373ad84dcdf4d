/// The part of NCCL that this project calls, loaded at run time. Types and values are those of nccl.h 2.27, whose ABI later versions keep.
#pragma once

#include <array>
#include <climits>
#include <cstddef>
#include <string>

#include "ckpt/result.h"

namespace ckpt {

using NcclComm = void*;
using NcclStream = void*;
struct NcclUniqueId {
  std::array<char, 128> bytes;
};

enum class NcclResult : int {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7,
};
inline constexpr int kNcclUint8 = 1;
inline constexpr int kNcclUndefined = INT_MIN;
inline constexpr int kNcclMinVersion = 22700;

/// ncclConfig_t of 2.27.
struct NcclConfig {
  std::size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = kNcclMinVersion;
  int blocking = kNcclUndefined;
  int cga_cluster_size = kNcclUndefined;
  int min_ctas = kNcclUndefined;
  int max_ctas = kNcclUndefined;
  const char* net_name = nullptr;
  int split_share = kNcclUndefined;
  int traffic_class = kNcclUndefined;
  const char* comm_name = nullptr;
  int collnet_enable = kNcclUndefined;
  int cta_policy = kNcclUndefined;
  int shrink_share = kNcclUndefined;
  int nvls_ctas = kNcclUndefined;
};

struct NcclLibrary {
  NcclResult (*get_version)(int* version);
  NcclResult (*get_unique_id)(NcclUniqueId* id);
  NcclResult (*comm_init_rank_config)(NcclComm* comm, int num_ranks, NcclUniqueId id, int rank, NcclConfig* config);
  NcclResult (*comm_get_async_error)(NcclComm comm, NcclResult* error);
  NcclResult (*comm_abort)(NcclComm comm);
  NcclResult (*all_gather)(const void* send, void* receive, std::size_t count, int type, NcclComm comm, NcclStream stream);
  NcclResult (*broadcast)(const void* send, void* receive, std::size_t count, int type, int root, NcclComm comm, NcclStream stream);
  NcclResult (*group_start)();
  NcclResult (*group_end)();
  const char* (*get_error_string)(NcclResult result);
  const char* (*get_last_error)(NcclComm comm);
  int version = 0;  ///< 22809 for 2.28.9

  [[nodiscard]] std::string version_text() const;
};

/// Loads libnccl.so.2, once a process: `path` if given, else one that the process has already, else by name, else where pip put it.
/// unsupported: not found (with every place tried), a call is missing, or older than 2.27. Thread-safe.
[[nodiscard]] Result<const NcclLibrary*> load_nccl(const std::string& path);

}  // namespace ckpt
