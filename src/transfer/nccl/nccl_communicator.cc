#include "transfer/nccl/nccl_communicator.h"

#include <memory>

#include "base/bytes.h"
#include "base/fault_point.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/recorder.h"
#include "os/poll_until.h"
#include "os/threads.h"

namespace ckpt {
namespace {

/// How long NCCL may take to take an operation: it connects to peers for the first one of its kind.
constexpr Duration kTakesOperation = std::chrono::seconds(60);
constexpr Duration kAbortTakes = std::chrono::seconds(10);
constexpr std::uint64_t kWarmUpUnit = MiB;

/// On a thread of its own: an abort that hangs must not hang its caller. False: it was left behind.
bool end_communicator(const NcclLibrary& nccl, Device& device, NcclComm comm) {
  const auto ended = std::make_shared<std::atomic<bool>>(false);  // shared: the thread may outlive this function
  const auto abort_it = [ended, comm, &nccl, &device] {
    if (device.use_on_this_thread().ok()) nccl.comm_abort(comm);
    *ended = true;
  };
  Result<std::thread> thread = start_thread("end a communicator", abort_it);
  if (!thread.ok()) {
    abort_it();
    return true;
  }
  const AbortSignal never;
  const Status in_time = poll_until([&ended]() -> Result<bool> { return ended->load(); }, Deadline::after(kAbortTakes), never, "NCCL to abort");
  if (in_time.ok()) {
    thread->join();
    return true;
  }
  log_warning("a communicator cannot be ended, and is left behind with its GPU memory: {}", in_time.to_string());
  thread->detach();
  return false;
}

}  // namespace

NcclCommunicator::NcclCommunicator(const NcclLibrary& nccl, Device& device, const NcclUniqueId& id, Place place)
    : nccl_(nccl), device_(device), place_(place) {
  Result<std::thread> thread = start_thread("connect NCCL", [this, id] {
    const LibraryHeapScope of_nccl;
    const Span span(Stage::connect, "connect NCCL");
    outcome_ = connect(id);
    if (outcome_.ok()) outcome_ = warm_up();
    connected_.store(true, std::memory_order_release);
  });
  if (thread.ok()) {
    connecting_ = std::move(thread).value();
    return;
  }
  outcome_ = thread.status();
  connected_ = true;
}

NcclCommunicator::~NcclCommunicator() {
  aborted_.trigger(Status(StatusCode::cancelled, Scope::group, "the communicator ends"));
  if (connecting_.joinable()) connecting_.join();
  const MutexLock lock(mutex_);
  if (comm_ == nullptr || end_communicator(nccl_, device_, comm_)) return;
  static_cast<void>(first_.buffer.release());  // to free it would wait for what cannot be aborted
}

Status NcclCommunicator::connect(const NcclUniqueId& id) {
  CKPT_FAULT_POINT("sys.nccl_init");
  CKPT_RETURN_IF_ERROR(device_.use_on_this_thread());
  NcclConfig config;
  config.blocking = 0;
  {
    const MutexLock lock(mutex_);
    const NcclResult result = nccl_.comm_init_rank_config(&comm_, static_cast<int>(place_.num_ranks), id, static_cast<int>(place_.rank), &config);
    if (result != NcclResult::success && result != NcclResult::in_progress) return failure("ncclCommInitRankConfig", result);
  }
  return poll_until([this] { return is_ready(); }, Deadline::after(kTakesOperation), aborted_, "NCCL to connect the ranks");
}

/// The first all-gather of a communicator makes its connections: it is done here, so that no update pays for it.
Status NcclCommunicator::warm_up() {
  CKPT_ASSIGN_OR_RETURN(first_.buffer, device_.allocate(kWarmUpUnit * place_.num_ranks));
  CKPT_ASSIGN_OR_RETURN(first_.stream, device_.create_stream());
  std::byte* base = first_.buffer->data();
  CKPT_RETURN_IF_ERROR(call("the first all-gather", [&](NcclComm comm) {
    return nccl_.all_gather(base + place_.rank * kWarmUpUnit, base, kWarmUpUnit, kNcclUint8, comm, first_.stream->native());
  }));
  CKPT_ASSIGN_OR_RETURN(const auto event, first_.stream->record());
  CKPT_RETURN_IF_ERROR(wait_for(*event, Deadline::after(kTakesOperation), aborted_, "the first all-gather"));
  first_ = {};
  return Status::success();
}

Status NcclCommunicator::wait_until_connected(Deadline deadline, const AbortSignal& abort) {
  const auto done = [this]() -> Result<bool> {
    if (connected_.load(std::memory_order_acquire)) return true;
    CKPT_RETURN_IF_ERROR(aborted_.check());
    return false;
  };
  CKPT_RETURN_IF_ERROR(poll_until(done, deadline, abort, "NCCL to connect the ranks"));
  return outcome_;
}

Status NcclCommunicator::failure(std::string_view what, NcclResult result) {
  const char* last = nccl_.get_last_error(comm_);
  return {StatusCode::unavailable, Scope::group, "{}: {}: {}", what, nccl_.get_error_string(result), last != nullptr ? last : ""};
}

Result<bool> NcclCommunicator::is_ready() {
  const MutexLock lock(mutex_);
  NcclResult state = NcclResult::success;
  const NcclResult asked = nccl_.comm_get_async_error(comm_, &state);
  if (asked != NcclResult::success) return failure("ncclCommGetAsyncError", asked);
  if (state == NcclResult::in_progress) return false;
  if (state != NcclResult::success) return failure("NCCL", state);
  return true;
}

Status NcclCommunicator::call(std::string_view what, const std::function<NcclResult(NcclComm)>& calls) {
  CKPT_FAULT_POINT("sys.nccl_call");
  CKPT_RETURN_IF_ERROR(aborted_.check());
  CKPT_RETURN_IF_ERROR(device_.use_on_this_thread());
  NcclResult result = NcclResult::success;
  {
    const MutexLock lock(mutex_);
    result = calls(comm_);
    if (result != NcclResult::success && result != NcclResult::in_progress) return failure(what, result);
  }
  if (result == NcclResult::success) return Status::success();
  return poll_until([this] { return is_ready(); }, Deadline::after(kTakesOperation), aborted_, what);
}

Status NcclCommunicator::wait_for(DeviceEvent& event, Deadline deadline, const AbortSignal& abort, std::string_view what) {
  const auto done = [this, &event]() -> Result<bool> {
    CKPT_ASSIGN_OR_RETURN(const bool done_now, event.done());
    if (!done_now) CKPT_RETURN_IF_ERROR(error());
    return done_now;
  };
  return poll_until(done, deadline, abort, what);
}

Status NcclCommunicator::error() {
  CKPT_RETURN_IF_ERROR(aborted_.check());
  const Result<bool> ready = is_ready();
  return ready.ok() ? Status::success() : ready.status();
}

}  // namespace ckpt
