// Calls that copy. A copy holds what it reads and writes on the device until it is done.
#include <cstring>
#include <span>
#include <thread>

#include "cuda/driver_state.h"
#include "cuda/exports.h"

using namespace ckpt;        // NOLINT: the calls are C's
using namespace ckpt::fake;  // NOLINT

namespace {

/// Until the context ends.
void hang(const Context& context) {
  while (context.spoiled == kCuSuccess && !process_ends()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

/// Queues `copy` on a stream of the current context; its failure spoils the context.
CuResult queue_copy(const std::shared_ptr<Context>& context, const StreamOfContext& on, std::function<void()> copy) {
  on.stream->push([context, copy = std::move(copy)] {
    if (context->spoiled != kCuSuccess) return;
    const int error = injected_error("copy");
    if (error == kHang) return hang(*context);
    if (error != 0) return context->spoil(error);
    copy();
  });
  return kCuSuccess;
}

/// From the host; where that is injected, one bit arrives as another.
void copy_in(std::span<std::byte> to, const void* source) {
  std::memcpy(to.data(), source, to.size());
  if (injected_error("flip") != 0) to[to.size() / 2] ^= std::byte{4};
}

/// What all copies check.
CuResult begin_copy(const char* name, CuStream stream, std::shared_ptr<Context>* context, StreamOfContext* on) {
  if (const CuResult result = begin_call(name, context); result != kCuSuccess) return result;
  *on = driver_state().streams.find(stream);
  return on->context == *context ? kCuSuccess : kInvalidHandle;
}

}  // namespace

CuResult cuMemcpyHtoDAsync_v2(CuDevicePtr destination, const void* source, std::size_t bytes, CuStream stream) {
  std::shared_ptr<Context> context;
  StreamOfContext on;
  if (const CuResult result = begin_copy("cuMemcpyHtoDAsync", stream, &context, &on); result != kCuSuccess) return result;
  if (bytes == 0) return kCuSuccess;
  const auto to = driver_state().memory.find(destination, bytes);
  const HostMemory memory = driver_state().host.look_up(source, bytes);
  if (!to || memory == HostMemory::mixed) return kInvalidValue;
  if (memory == HostMemory::registered) return queue_copy(context, on, [to = *to, source, bytes] { copy_in({to.data(), bytes}, source); });
  const auto* first = static_cast<const std::byte*>(source);
  return queue_copy(context, on, [to = *to, read = std::vector<std::byte>(first, first + bytes)] { copy_in({to.data(), read.size()}, read.data()); });
}

CuResult cuMemcpyDtoHAsync_v2(void* destination, CuDevicePtr source, std::size_t bytes, CuStream stream) {
  std::shared_ptr<Context> context;
  StreamOfContext on;
  if (const CuResult result = begin_copy("cuMemcpyDtoHAsync", stream, &context, &on); result != kCuSuccess) return result;
  if (bytes == 0) return kCuSuccess;
  const auto from = driver_state().memory.find(source, bytes);
  const HostMemory memory = driver_state().host.look_up(destination, bytes);
  if (!from || memory == HostMemory::mixed) return kInvalidValue;
  queue_copy(context, on, [from = *from, destination, bytes] { std::memcpy(destination, from.data(), bytes); });
  if (memory == HostMemory::pageable) on.stream->record()->wait();
  return context->spoiled;
}

CuResult cuMemcpyDtoDAsync_v2(CuDevicePtr destination, CuDevicePtr source, std::size_t bytes, CuStream stream) {
  std::shared_ptr<Context> context;
  StreamOfContext on;
  if (const CuResult result = begin_copy("cuMemcpyDtoDAsync", stream, &context, &on); result != kCuSuccess) return result;
  if (bytes == 0) return kCuSuccess;
  const auto to = driver_state().memory.find(destination, bytes);
  const auto from = driver_state().memory.find(source, bytes);
  if (!to || !from) return kInvalidValue;
  return queue_copy(context, on, [to = *to, from = *from, bytes] { std::memmove(to.data(), from.data(), bytes); });
}
