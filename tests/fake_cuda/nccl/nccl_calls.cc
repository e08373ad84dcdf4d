// The calls of NCCL: what they check, groups, and the way from handles to communicators.
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "nccl/communicator.h"
#include "nccl/nccl_exports.h"

using namespace ckpt;        // NOLINT: the calls are C's
using namespace ckpt::fake;  // NOLINT

namespace {

constexpr unsigned kConfigMagic = 0xcafebeef;

struct Communicators {
  std::mutex mutex;
  std::map<std::uintptr_t, std::shared_ptr<Communicator>> of_handles;
  std::uintptr_t last = 0;
};
Communicators& communicators() {
  static auto* const all = new Communicators();  // other threads may still call when the process ends
  return *all;
}

std::shared_ptr<Communicator> find(NcclComm handle) {
  const std::lock_guard lock(communicators().mutex);
  const auto found = communicators().of_handles.find(reinterpret_cast<std::uintptr_t>(handle));
  return found == communicators().of_handles.end() ? nullptr : found->second;
}

thread_local std::string last_error_of_thread;
NcclResult refuse(NcclResult result, const char* why) {
  last_error_of_thread = why;
  return result;
}

/// What the group of this thread has collected.
struct Group {
  int depth = 0;
  std::shared_ptr<Communicator> communicator;
  NcclStream stream = nullptr;
  std::vector<Operation> operations;
};
thread_local Group group_of_thread;

NcclResult begin_call(const char* name) {
  const int injected = injected_error(name);
  if (injected == kHang) hang();
  return injected > 0 ? static_cast<NcclResult>(injected) : NcclResult::success;
}

NcclResult add(const std::shared_ptr<Communicator>& communicator, NcclStream stream, const Operation& operation) {
  Group& group = group_of_thread;
  if (group.depth == 0) return communicator->launch({operation}, stream);
  if (group.communicator != nullptr && (group.communicator != communicator || group.stream != stream))
    return refuse(NcclResult::invalid_usage, "the software GPU has groups on one communicator and stream only");
  if (group.operations.size() == kMaxOperations) return refuse(NcclResult::invalid_usage, "too many operations in a group");
  group.communicator = communicator;
  group.stream = stream;
  group.operations.push_back(operation);
  return NcclResult::success;
}

NcclResult check_config(int num_ranks, int rank, const NcclConfig* config) {
  if (num_ranks < 1 || num_ranks > static_cast<int>(kMaxRanks) || rank < 0 || rank >= num_ranks)
    return refuse(NcclResult::invalid_argument, "the rank is none");
  if (config == nullptr || config->magic != kConfigMagic) return refuse(NcclResult::invalid_argument, "ncclConfig_t was not initialised");
  if (config->size < offsetof(NcclConfig, comm_name) || config->size > sizeof(NcclConfig))
    return refuse(NcclResult::invalid_argument, "the size of ncclConfig_t");
  if (config->blocking != 0) return refuse(NcclResult::invalid_usage, "the software GPU has non-blocking communicators only");
  if (!current_device()) return refuse(NcclResult::unhandled_cuda_error, "no CUDA context is current");
  return NcclResult::success;
}

}  // namespace

NcclResult ncclGetVersion(int* version) {
  const char* text = std::getenv("CKPT_FAKE_NCCL_VERSION");
  *version = text != nullptr ? std::atoi(text) : 22809;
  return NcclResult::success;
}

NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  if (const NcclResult result = begin_call("ncclGetUniqueId"); result != NcclResult::success) return result;
  remove_left_over_objects();
  id->bytes.fill('\0');
  new_object_name(kMeetingPrefix).copy(id->bytes.data(), id->bytes.size() - 1);
  return NcclResult::success;
}

NcclResult ncclCommInitRankConfig(NcclComm* comm, int num_ranks, NcclUniqueId id, int rank, NcclConfig* config) {
  *comm = nullptr;
  if (const NcclResult result = begin_call("ncclCommInitRankConfig"); result != NcclResult::success) return result;
  if (const NcclResult result = check_config(num_ranks, rank, config); result != NcclResult::success) return result;
  const std::string name(id.bytes.data(), ::strnlen(id.bytes.data(), id.bytes.size()));
  if (!name.starts_with(kMeetingPrefix)) return refuse(NcclResult::invalid_argument, "the unique id is none");
  auto made = Communicator::start(name, static_cast<std::uint32_t>(rank), static_cast<std::uint32_t>(num_ranks));
  const std::lock_guard lock(communicators().mutex);
  const std::uintptr_t handle = ++communicators().last * 16 + 4;
  communicators().of_handles.emplace(handle, std::move(made));
  *comm = reinterpret_cast<NcclComm>(handle);
  return NcclResult::in_progress;
}

NcclResult ncclCommGetAsyncError(NcclComm comm, NcclResult* error) {
  if (const NcclResult result = begin_call("ncclCommGetAsyncError"); result != NcclResult::success) return result;
  const auto communicator = find(comm);
  if (communicator == nullptr) return refuse(NcclResult::invalid_argument, "the communicator is none");
  *error = communicator->async_error();
  return NcclResult::success;
}

NcclResult ncclCommAbort(NcclComm comm) {
  if (const NcclResult result = begin_call("ncclCommAbort"); result != NcclResult::success) return result;
  const auto communicator = find(comm);
  if (communicator == nullptr) return refuse(NcclResult::invalid_argument, "the communicator is none");
  {
    const std::lock_guard lock(communicators().mutex);
    communicators().of_handles.erase(reinterpret_cast<std::uintptr_t>(comm));
  }
  communicator->abort();
  return NcclResult::success;
}

NcclResult ncclAllGather(const void* send, void* receive, std::size_t count, int type, NcclComm comm, NcclStream stream) {
  if (const NcclResult result = begin_call("ncclAllGather"); result != NcclResult::success) return result;
  const auto communicator = find(comm);
  if (communicator == nullptr || type != kNcclUint8) return refuse(NcclResult::invalid_argument, "the communicator, or the type");
  auto from = find_device_range(send, count);
  auto to = find_device_range(receive, count * communicator->num_ranks());
  if (!from || !to) return communicator->refuse(NcclResult::invalid_argument, "a buffer is no device memory");
  return add(communicator, stream, {OperationKind::all_gather, 0, count, std::move(*from), std::move(*to)});
}

NcclResult ncclBroadcast(const void* send, void* receive, std::size_t count, int type, int root, NcclComm comm, NcclStream stream) {
  if (const NcclResult result = begin_call("ncclBroadcast"); result != NcclResult::success) return result;
  const auto communicator = find(comm);
  if (communicator == nullptr || type != kNcclUint8) return refuse(NcclResult::invalid_argument, "the communicator, or the type");
  if (root < 0 || root >= static_cast<int>(communicator->num_ranks())) return communicator->refuse(NcclResult::invalid_argument, "the root is none");
  const bool is_root = root == static_cast<int>(communicator->rank());
  auto to = find_device_range(receive, count);
  auto from = is_root ? find_device_range(send, count) : to;  // elsewhere it is not looked at
  if (!from || !to) return communicator->refuse(NcclResult::invalid_argument, "a buffer is no device memory");
  return add(communicator, stream, {OperationKind::broadcast, static_cast<std::uint32_t>(root), count, std::move(*from), std::move(*to)});
}

NcclResult ncclGroupStart() {
  if (const NcclResult result = begin_call("ncclGroupStart"); result != NcclResult::success) return result;
  ++group_of_thread.depth;
  return NcclResult::success;
}

NcclResult ncclGroupEnd() {
  Group& group = group_of_thread;
  if (group.depth == 0) return refuse(NcclResult::invalid_usage, "no group was started");
  if (--group.depth > 0) return NcclResult::success;
  const Group ended = std::exchange(group, {});
  if (const NcclResult result = begin_call("ncclGroupEnd"); result != NcclResult::success) return result;
  return ended.communicator == nullptr ? NcclResult::success : ended.communicator->launch(ended.operations, ended.stream);
}

const char* ncclGetErrorString(NcclResult result) {
  switch (result) {
    case NcclResult::success: return "no error";
    case NcclResult::unhandled_cuda_error: return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case NcclResult::system_error: return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case NcclResult::internal_error: return "internal error - please report this issue to the NCCL developers";
    case NcclResult::invalid_argument: return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case NcclResult::invalid_usage: return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case NcclResult::remote_error: return "remote process exited or there was a network error";
    case NcclResult::in_progress: return "NCCL operation in progress";
  }
  return "unknown result code";
}

const char* ncclGetLastError(NcclComm comm) {
  thread_local std::string text;
  const auto communicator = find(comm);
  text = communicator != nullptr ? communicator->last_error() : last_error_of_thread;
  return text.c_str();
}
