/// The software GPU: a libcuda.so.1 and a libnccl.so.2 for machines without any, and what the two say to each other.
///
/// They implement the calls of device/cuda/cuda_driver.h and transfer/nccl/nccl_library.h over shared memory and threads, and lie in
/// <build>/tests/fake_cuda/: with that folder in LD_LIBRARY_PATH every program finds them. They are strict where a GPU would only be wrong now and
/// then:
///
///   device memory     a POSIX shared memory object an allocation, mapped by the library alone: the caller's address is reserved and inaccessible, so
///                     that a host access crashes. An IPC handle holds the object's name, as given to shm_open, ending in a NUL. Objects of dead
///                     processes are removed by the next process that asks for memory or its amount.
///   streams           a thread each. Work is held back until somebody asks for it (queries or waits for a later event, also through a wait of
///   another
///                     stream), at most CKPT_FAKE_CUDA_HOLD_US: where a synchronisation is missing, the data is not there.
///   host memory       a copy reads registered memory when it runs, unregistered memory before the call returns; a range that is partly registered or
///                     lies in two registrations is refused.
///   errors            a copy that fails as it runs spoils its context: every later call on it returns that error.
///   communicators     non-blocking only. The first operation, and some later ones, return ncclInProgress and reach the stream a moment later. A peer
///                     that died is never noticed: the operation hangs until ncclCommAbort.
///
/// Environment, read by cuInit:
///   CUDA_VISIBLE_DEVICES             as for CUDA: indices, GPU-…, MIG-…; a divided GPU named by index shows its first slice
///   CKPT_FAKE_CUDA_MACHINE=0         only processes of one name share GPUs: tests that run at the same time have machines of their own
///   CKPT_FAKE_CUDA_DEVICES=2         GPUs of the machine
///   CKPT_FAKE_CUDA_SLICES=1:3,…      GPU 1 is divided into 3 slices (MIG), which share its memory evenly
///   CKPT_FAKE_CUDA_MEMORY=2GiB       of each GPU; all processes of the machine share it
///   CKPT_FAKE_CUDA_SEED=1            of the delays
///   CKPT_FAKE_CUDA_HOLD_US=5000      longest time that work is held back
///   CKPT_FAKE_CUDA_READ_ONLY=1       whether read-only memory can be registered
///   CKPT_FAKE_CUDA_DRIVER=12080, CKPT_FAKE_NCCL_VERSION=22809
///   CKPT_FAKE_CUDA_FAIL=call:error:nth[+],…   the nth call fails ("+": and all after it); only where RANK is CKPT_FAKE_CUDA_FAIL_RANK, if that is
///   set
///     call   a name without its version suffix (cuMemAlloc, ncclCommInitRankConfig): the call returns the error, or never ("hang")
///            copy, init, all_gather, broadcast: the call succeeds, and its work fails later, or never ends ("hang"; communicators: until the abort)
///            flip: the work of a copy from the host succeeds, and one bit of what it wrote is wrong
///     error  the number of a CUresult or ncclResult_t
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#define FAKE_CUDA_API __attribute__((visibility("default")))

namespace ckpt::fake {

inline constexpr int kHang = -1;

/// What CKPT_FAKE_CUDA_FAIL has for this pass of `call`: 0 for nothing, kHang, or an error's number.
FAKE_CUDA_API int injected_error(const std::string& call);
/// Replaces the rules and starts counting anew: for tests.
FAKE_CUDA_API void inject_errors(const std::string& rules);

/// Whether the process is at its end: whatever waits gives up.
FAKE_CUDA_API bool process_ends();
/// Does not return while the process runs.
FAKE_CUDA_API void hang();
/// Even in [0, bound], from the seed.
FAKE_CUDA_API std::uint64_t random_up_to(std::uint64_t bound);
/// The GPU of the calling thread's context; nullopt without one.
FAKE_CUDA_API std::optional<int> current_device();

/// Bytes of device memory as any process reaches them.
struct DeviceRange {
  std::string object;             ///< for shm_open
  std::uint64_t offset;           ///< in it
  std::shared_ptr<std::byte> at;  ///< the same bytes in this process; keeps them mapped
};
/// nullopt where `bytes` from `address` on are not all in one allocation.
FAKE_CUDA_API std::optional<DeviceRange> find_device_range(const void* address, std::size_t bytes);

/// Queues `work` on a stream. `after`: what push_work returned for work that must be done before, on any stream. Null: there is no such stream.
FAKE_CUDA_API std::shared_ptr<void> push_work(void* stream, std::function<void()> work, const std::shared_ptr<void>& after);

}  // namespace ckpt::fake
