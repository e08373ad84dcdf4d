#include "cuda/driver_state.h"

namespace ckpt::fake {
namespace {

thread_local CuContext current_of_thread = nullptr;

}  // namespace

CuResult PrimaryContexts::retain(int ordinal, CuContext* handle) {
  const auto& devices = driver_state().devices;
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= devices.size()) return kInvalidDevice;
  const std::lock_guard lock(mutex_);
  Primary& primary = primaries_[ordinal];
  if (primary.retained++ == 0) {
    auto context = std::make_shared<Context>();
    context->device = &devices[static_cast<std::size_t>(ordinal)];
    context->ordinal = ordinal;
    primary.handle = contexts_.add(std::move(context));
  }
  *handle = primary.handle;
  return kCuSuccess;
}

CuResult PrimaryContexts::release(int ordinal) {
  std::shared_ptr<Context> ended;
  {
    const std::lock_guard lock(mutex_);
    const auto found = primaries_.find(ordinal);
    if (found == primaries_.end() || found->second.retained == 0) return kInvalidContext;
    if (--found->second.retained > 0) return kCuSuccess;
    ended = contexts_.take(found->second.handle);
  }
  ended->spoil(kContextIsDestroyed);  // the work that is left is not done
  DriverState& state = driver_state();
  for (StreamOfContext& one : state.streams.take_if([&](const StreamOfContext& stream) { return stream.context == ended; }))
    state.let_end(std::move(one));
  state.memory.drop_all_of(ended.get());
  return kCuSuccess;
}

CuResult PrimaryContexts::set_current(CuContext handle) {
  if (handle != nullptr && !contexts_.find(handle)) return kInvalidContext;
  current_of_thread = handle;
  return kCuSuccess;
}

CuResult PrimaryContexts::current(std::shared_ptr<Context>* context) {
  if (current_of_thread == nullptr) return kInvalidContext;
  *context = contexts_.find(current_of_thread);
  return *context ? kCuSuccess : kContextIsDestroyed;
}

}  // namespace ckpt::fake
