/// All that the driver keeps of this process. Made by the first call; never destroyed, since other threads may still call at the end.
#pragma once

#include <unistd.h>

#include <random>

#include "cuda/context.h"
#include "cuda/device_memory.h"
#include "cuda/host_registry.h"
#include "cuda/injected_errors.h"
#include "cuda/settings.h"

namespace ckpt::fake {

/// The primary contexts. Thread-safe.
class PrimaryContexts {
 public:
  CuResult retain(int ordinal, CuContext* handle);
  /// With the last release the context ends, with all that belongs to it.
  CuResult release(int ordinal);
  /// Of the calling thread. The result says why there is none.
  CuResult set_current(CuContext handle);
  CuResult current(std::shared_ptr<Context>* context);

 private:
  struct Primary {
    int retained = 0;
    CuContext handle = nullptr;
  };
  std::mutex mutex_;
  std::map<int, Primary> primaries_;
  HandleTable<std::shared_ptr<Context>> contexts_;
};

struct DriverState {
  DriverState();
  const Settings settings;
  const std::vector<VisibleDevice> devices;
  const pid_t process = ::getpid();
  std::atomic<bool> initialized{false};
  std::atomic<bool> ends{false};
  InjectedErrors errors;
  DeviceMemory memory;
  HostRegistry host;
  PrimaryContexts contexts;
  HandleTable<StreamOfContext> streams;
  HandleTable<std::shared_ptr<Event>> events;

  /// A stream whose handle is gone: it finishes its work.
  void let_end(StreamOfContext stream);
  /// Waits for all work of the context, also on streams whose handles are gone, also for work that never ends.
  void finish_work_of(const std::shared_ptr<Context>& context);
  /// At the end of the process: nothing waits any longer, no thread works, names in shared memory are gone.
  void end();

  std::mutex random_mutex;
  std::mt19937_64 random;

 private:
  std::mutex ending_mutex_;
  std::vector<StreamOfContext> ending_;
};

[[nodiscard]] DriverState& driver_state();

/// What every call does first: the result to return at once, or success.
[[nodiscard]] CuResult begin_call(const char* name);
/// The same for calls that need a context.
[[nodiscard]] CuResult begin_call(const char* name, std::shared_ptr<Context>* context);

}  // namespace ckpt::fake
