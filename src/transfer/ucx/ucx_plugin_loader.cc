#include "transfer/ucx/ucx_plugin_loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/fault_point.h"
#include "base/thread_annotations.h"

namespace ckpt {
namespace {

/// Beside the executable, and beside the library that this code is in, where another program has loaded it (Python).
std::vector<std::string> candidates(const std::string& path) {
  if (!path.empty()) return {path};
  std::error_code ignored;
  const std::string directory = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string();
  std::vector<std::string> files{directory + "/../lib/libckpt_ucx.so", directory + "/libckpt_ucx.so"};
  Dl_info place{};
  if (::dladdr(reinterpret_cast<const void*>(&load_ucx_plugin), &place) != 0 && place.dli_fname != nullptr) {
    const std::filesystem::path library(place.dli_fname);
    if (library.is_absolute() && library.parent_path() != directory) files.insert(files.begin(), (library.parent_path() / "libckpt_ucx.so").string());
  }
  return files;
}

/// Set only where the user has not, and before the library is there: it reads some of them while it is loaded. Measured on UCX 1.13 over TCP and
/// shared memory (docs/guide/ucx.md). A long FIFO costs 20 ms at connect and 9 MB of /dev/shm, and is 3-10 times as fast with more ranks than cores.
/// Its buffers come in one piece, since a process that is killed while UCX makes one leaves a file there. A peer that talks over TCP holds three
/// segments, and messages that come before their receive take buffers by 128 of a segment each: 160 MB with three peers. Hence they grow one by one,
/// and what is not small comes by rendezvous, into its place.
void set_defaults(const UcxNeeds& needs) {
  const char* segment = needs.num_ranks <= 16 ? "1M" : "256K";
  const char* fifo = needs.two_copies ? "1024" : "64";
  const char* fifo_buffers = needs.two_copies ? "1056" : "80";
  const char* const defaults[][2] = {{"UCX_TCP_TX_SEG_SIZE", segment},
                                     {"UCX_TCP_RX_SEG_SIZE", segment},
                                     {"UCX_TCP_TX_BUFS_GROW", "1"},
                                     {"UCX_TCP_RX_BUFS_GROW", "1"},
                                     {"UCX_POSIX_ERROR_HANDLING", "y"},
                                     {"UCX_POSIX_FIFO_SIZE", fifo},
                                     {"UCX_POSIX_RX_BUFS_GROW", fifo_buffers},
                                     {"UCX_KEEPALIVE_INTERVAL", "1s"},
                                     {"UCX_TCP_KEEPIDLE", "1s"},
                                     {"UCX_TCP_KEEPINTVL", "1s"},
                                     {"UCX_TCP_KEEPCNT", "2"},
                                     {"UCX_TCP_USER_TIMEOUT", "3s"},
                                     {"UCX_ERROR_SIGNALS", ""},
                                     {"UCX_WARN_UNUSED_ENV_VARS", "n"},
                                     {"UCX_MEM_MMAP_HOOK_MODE", "none"},
                                     {"UCX_MEM_CUDA_HOOK_MODE", "none"},
                                     {"UCX_RNDV_THRESH", "32K"},
                                     {"UCX_RX_MPOOL_SIZES", "64,1kb,32kb"},
                                     {"UCX_LOG_LEVEL", "fatal"}};
  for (const auto& [name, value] : defaults) ::setenv(name, value, 0);
}

}  // namespace

Result<const CkptUcxApi*> load_ucx_plugin(const std::string& path, const UcxNeeds& needs) {
  CKPT_FAULT_POINT("sys.dlopen");
  static Mutex one_at_a_time;  // a group must not read the environment while another one sets it
  const MutexLock lock(one_at_a_time);
  set_defaults(needs);
  std::string tried;
  for (const std::string& file : candidates(path)) {
    void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: UCX does not survive that
    if (library == nullptr) {
      tried += fmt::format("; {}", ::dlerror());
      continue;
    }
    const auto get = reinterpret_cast<CkptUcxGetApi>(::dlsym(library, "ckpt_ucx_api"));
    const CkptUcxApi* api = get != nullptr ? get(CKPT_UCX_ABI_VERSION) : nullptr;
    if (api != nullptr) return api;
    tried += fmt::format("; {} is of another version", file);
  }
  return Status(StatusCode::unsupported, Scope::process, "ranks in several processes exchange bytes over UCX, and its plug-in cannot be loaded{}",
                tried)
      .advise("install the package libucx0 (libucx-dev to build)");
}

}  // namespace ckpt
