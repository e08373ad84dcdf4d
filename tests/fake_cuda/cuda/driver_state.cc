#include "cuda/driver_state.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "fake_cuda.h"

namespace ckpt::fake {
namespace {

std::string rules_of_this_process() {
  const auto only = environment_text("CKPT_FAKE_CUDA_FAIL_RANK");
  if (only && environment_text("RANK") != only) return "";
  return environment_text("CKPT_FAKE_CUDA_FAIL").value_or("");
}

}  // namespace

DriverState::DriverState() : settings(read_settings()), devices(visible_devices(settings)), random(settings.seed) {
  const std::string rules = rules_of_this_process();
  if (errors.set(rules)) return;
  std::fprintf(stderr, "software GPU: CKPT_FAKE_CUDA_FAIL=\"%s\" cannot be read\n", rules.c_str());
  std::abort();
}

DriverState& driver_state() {
  static auto* const state = [] {
    auto* const made = new DriverState();
    std::atexit([] { driver_state().end(); });
    return made;
  }();
  return *state;
}

void DriverState::let_end(StreamOfContext stream) {
  if (stream.stream) stream.stream->close();
  std::vector<StreamOfContext> ended;
  const std::lock_guard lock(ending_mutex_);
  if (stream.stream) ending_.push_back(std::move(stream));
  std::erase_if(ending_, [&](StreamOfContext& one) {
    if (!one.stream->ended()) return false;
    ended.push_back(std::move(one));
    return true;
  });
}

void DriverState::finish_work_of(const std::shared_ptr<Context>& context) {
  std::vector<StreamOfContext> found = streams.all();
  {
    const std::lock_guard lock(ending_mutex_);
    found.insert(found.end(), ending_.begin(), ending_.end());
  }
  for (const StreamOfContext& one : found)
    if (one.context == context) one.stream->record()->wait();
}

void DriverState::end() {
  if (process != ::getpid()) return;
  ends = true;
  for (StreamOfContext& one : streams.take_if([](const auto&) { return true; })) let_end(std::move(one));
  {
    const std::lock_guard lock(ending_mutex_);
    for (const StreamOfContext& one : ending_)
      while (!one.stream->ended()) std::this_thread::yield();
  }
  memory.remove_names();
}

CuResult begin_call(const char* name) {
  DriverState& state = driver_state();
  if (state.process != ::getpid()) return kNotInitialized;  // forked: as on a GPU
  if (state.ends) return kDeinitialized;
  const int error = state.errors.strike(name);
  if (error == kHang) hang();
  if (error != 0) return error == kHang ? kDeinitialized : error;
  return state.initialized || std::string_view(name) == "cuInit" ? kCuSuccess : kNotInitialized;
}

CuResult begin_call(const char* name, std::shared_ptr<Context>* context) {
  if (const CuResult result = begin_call(name); result != kCuSuccess) return result;
  if (const CuResult result = driver_state().contexts.current(context); result != kCuSuccess) return result;
  return (*context)->spoiled;
}

int injected_error(const std::string& call) { return driver_state().errors.strike(call); }
void inject_errors(const std::string& rules) {
  if (!driver_state().errors.set(rules)) std::abort();
}

bool process_ends() { return driver_state().ends; }
void hang() {
  while (!process_ends()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

std::uint64_t random_up_to(std::uint64_t bound) {
  DriverState& state = driver_state();
  const std::lock_guard lock(state.random_mutex);
  return std::uniform_int_distribution<std::uint64_t>(0, bound)(state.random);
}

std::optional<int> current_device() {
  std::shared_ptr<Context> context;
  if (driver_state().contexts.current(&context) != kCuSuccess) return std::nullopt;
  return context->ordinal;
}

std::optional<DeviceRange> find_device_range(const void* address, std::size_t bytes) {
  const auto part = driver_state().memory.find(reinterpret_cast<CuDevicePtr>(address), bytes);
  if (!part) return std::nullopt;
  return DeviceRange{part->allocation->name(), part->offset, {part->allocation, part->data()}};
}

std::shared_ptr<void> push_work(void* stream, std::function<void()> work, const std::shared_ptr<void>& after) {
  const StreamOfContext found = driver_state().streams.find(stream);
  if (!found.stream) return nullptr;
  if (after) found.stream->push_wait(std::static_pointer_cast<Mark>(after));
  found.stream->push(std::move(work));
  return found.stream->record();
}

}  // namespace ckpt::fake
