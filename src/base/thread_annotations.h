/// Names for clang's thread-safety analysis, and a mutex that carries them. Nothing in other compilers.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define CKPT_ANNOTATE(x) __attribute__((x))
#else
#define CKPT_ANNOTATE(x)
#endif
#define CKPT_GUARDED_BY(mutex) CKPT_ANNOTATE(guarded_by(mutex))
#define CKPT_REQUIRES(...) CKPT_ANNOTATE(requires_capability(__VA_ARGS__))
#define CKPT_EXCLUDES(...) CKPT_ANNOTATE(locks_excluded(__VA_ARGS__))

namespace ckpt {

/// std::mutex, known to the analysis.
class CKPT_ANNOTATE(capability("mutex")) Mutex {
 public:
  void lock() CKPT_ANNOTATE(acquire_capability()) { mutex_.lock(); }
  void unlock() CKPT_ANNOTATE(release_capability()) { mutex_.unlock(); }
  bool try_lock() CKPT_ANNOTATE(try_acquire_capability(true)) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

/// Holds a Mutex for a scope.
class CKPT_ANNOTATE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CKPT_ANNOTATE(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() CKPT_ANNOTATE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Condition variable for Mutex; `wait_until` with a Deadline's time. The caller holds `mutex`.
using ConditionVariable = std::condition_variable_any;

}  // namespace ckpt
