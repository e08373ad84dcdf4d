// Calls on streams and events.
#include "cuda/driver_state.h"
#include "cuda/exports.h"

using namespace ckpt;        // NOLINT: the calls are C's
using namespace ckpt::fake;  // NOLINT

namespace {

constexpr unsigned kEventWithoutTime = 2;
constexpr unsigned kEventFlags = 7;

}  // namespace

CuResult cuStreamCreate(CuStream* stream, unsigned flags) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuStreamCreate", &context); result != kCuSuccess) return result;
  if ((flags & ~kCuStreamNonBlocking) != 0) return kInvalidValue;
  driver_state().let_end({});
  *stream = driver_state().streams.add({Stream::create(), context});
  return kCuSuccess;
}

CuResult cuStreamDestroy_v2(CuStream stream) {
  std::shared_ptr<Context> context;
  const CuResult begun = begin_call("cuStreamDestroy", &context);
  if (begun != kCuSuccess && (!context || begun != context->spoiled)) return begun;
  StreamOfContext found = driver_state().streams.take(stream);
  if (!found.stream) return kInvalidHandle;
  driver_state().let_end(std::move(found));
  return begun;
}

CuResult cuStreamSynchronize(CuStream stream) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuStreamSynchronize", &context); result != kCuSuccess) return result;
  const StreamOfContext on = driver_state().streams.find(stream);
  if (!on.stream) return kInvalidHandle;
  if (!on.stream->record()->wait()) return kDeinitialized;
  return on.context->spoiled;
}

CuResult cuStreamWaitEvent(CuStream stream, CuEvent event, unsigned flags) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuStreamWaitEvent", &context); result != kCuSuccess) return result;
  const StreamOfContext on = driver_state().streams.find(stream);
  const auto waited_for = driver_state().events.find(event);
  if (!on.stream || !waited_for) return kInvalidHandle;
  if (flags != 0) return kInvalidValue;
  if (auto mark = waited_for->last_record()) on.stream->push_wait(std::move(mark));
  return kCuSuccess;
}

CuResult cuEventCreate(CuEvent* event, unsigned flags) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuEventCreate", &context); result != kCuSuccess) return result;
  if ((flags & ~kEventFlags) != 0) return kInvalidValue;
  *event = driver_state().events.add(std::make_shared<Event>((flags & kEventWithoutTime) == 0));
  return kCuSuccess;
}

CuResult cuEventRecord(CuEvent event, CuStream stream) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuEventRecord", &context); result != kCuSuccess) return result;
  const StreamOfContext on = driver_state().streams.find(stream);
  const auto recorded = driver_state().events.find(event);
  if (!on.stream || !recorded) return kInvalidHandle;
  const std::lock_guard lock(recorded->mutex);
  recorded->mark = on.stream->record();
  return kCuSuccess;
}

CuResult cuEventQuery(CuEvent event) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuEventQuery", &context); result != kCuSuccess) return result;
  const auto asked = driver_state().events.find(event);
  if (!asked) return kInvalidHandle;
  const auto mark = asked->last_record();
  if (!mark) return kCuSuccess;
  if (mark->reached()) return context->spoiled;  // also when the work before it was what spoiled the context
  mark->demand();
  return kCuNotReady;
}

CuResult cuEventElapsedTime(float* milliseconds, CuEvent begin, CuEvent end) {
  std::shared_ptr<Context> context;
  if (const CuResult result = begin_call("cuEventElapsedTime", &context); result != kCuSuccess) return result;
  const auto first = driver_state().events.find(begin);
  const auto second = driver_state().events.find(end);
  if (!first || !second || !first->timed || !second->timed) return kInvalidHandle;
  const auto from = first->last_record();
  const auto to = second->last_record();
  if (!from || !to) return kInvalidHandle;
  if (!from->reached() || !to->reached()) return kCuNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(to->when() - from->when()).count();
  return kCuSuccess;
}

CuResult cuEventDestroy_v2(CuEvent event) {
  std::shared_ptr<Context> context;
  const CuResult begun = begin_call("cuEventDestroy", &context);
  if (begun != kCuSuccess && (!context || begun != context->spoiled)) return begun;
  return driver_state().events.take(event) ? begun : kInvalidHandle;
}
