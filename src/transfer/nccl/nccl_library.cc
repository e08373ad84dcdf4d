#include "transfer/nccl/nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/fault_point.h"
#include "base/heap.h"
#include "base/thread_annotations.h"

namespace ckpt {
namespace {

constexpr const char* kNcclName = "libnccl.so.2";

/// Where pip puts it: below the site directories of the Python installations that are usual on GPU machines.
std::vector<std::string> pip_places() {
  std::vector<std::string> places;
  std::error_code ignored;
  for (const char* root : {"/usr/local/lib", "/usr/lib", "/opt/venv/lib", "/opt/conda/lib"})
    for (const auto& entry : std::filesystem::directory_iterator(root, ignored)) {
      if (!entry.path().filename().string().starts_with("python3")) continue;
      for (const char* site : {"site-packages", "dist-packages"}) {
        const std::filesystem::path file = entry.path() / site / "nvidia" / "nccl" / "lib" / kNcclName;
        if (std::filesystem::exists(file, ignored)) places.push_back(file.string());
      }
    }
  return places;
}

void* open_nccl(const std::string& path, std::string& tried) {
  if (path.empty())
    if (void* present = ::dlopen(kNcclName, RTLD_NOW | RTLD_NOLOAD)) return present;  // torch's, where it lives beside us
  std::vector<std::string> files = path.empty() ? std::vector<std::string>{kNcclName} : std::vector<std::string>{path};
  if (path.empty())
    for (std::string& place : pip_places()) files.push_back(std::move(place));
  for (const std::string& file : files) {
    if (void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;  // never closed: its threads do not survive that
    const char* reason = ::dlerror();
    tried += fmt::format("; {}", reason != nullptr ? reason : file);
  }
  return nullptr;
}

struct NcclSymbol {
  const char* name;
  void** place;
};

const char* look_up(void* library, NcclLibrary& nccl) {
  const NcclSymbol symbols[] = {
      {"ncclGetVersion", reinterpret_cast<void**>(&nccl.get_version)},
      {"ncclGetUniqueId", reinterpret_cast<void**>(&nccl.get_unique_id)},
      {"ncclCommInitRankConfig", reinterpret_cast<void**>(&nccl.comm_init_rank_config)},
      {"ncclCommGetAsyncError", reinterpret_cast<void**>(&nccl.comm_get_async_error)},
      {"ncclCommAbort", reinterpret_cast<void**>(&nccl.comm_abort)},
      {"ncclAllGather", reinterpret_cast<void**>(&nccl.all_gather)},
      {"ncclBroadcast", reinterpret_cast<void**>(&nccl.broadcast)},
      {"ncclGroupStart", reinterpret_cast<void**>(&nccl.group_start)},
      {"ncclGroupEnd", reinterpret_cast<void**>(&nccl.group_end)},
      {"ncclGetErrorString", reinterpret_cast<void**>(&nccl.get_error_string)},
      {"ncclGetLastError", reinterpret_cast<void**>(&nccl.get_last_error)},
  };
  for (const NcclSymbol& symbol : symbols) {
    *symbol.place = ::dlsym(library, symbol.name);
    if (*symbol.place == nullptr) return symbol.name;
  }
  return nullptr;
}

Status load(const std::string& path, NcclLibrary& nccl) {
  CKPT_FAULT_POINT("sys.dlopen");
  const LibraryHeapScope of_nccl;
  // Multicast in the NVLink switch gains an all-gather between few GPUs little, and a process that dies in it can take the host's GPUs with it.
  ::setenv("NCCL_NVLS_ENABLE", "0", 0);
  std::string tried;
  void* library = open_nccl(path, tried);
  if (library == nullptr)
    return Status(StatusCode::unsupported, Scope::process, "ranks on GPUs exchange bytes over NCCL, and it cannot be loaded{}", tried)
        .advise(
            "install NCCL 2.27 or later (libnccl2, or pip install nvidia-nccl-cu12 or -cu13) and put its folder into LD_LIBRARY_PATH or "
            "CKPT_NCCL_LIBRARY");
  const char* missing = look_up(library, nccl);
  const bool answers = missing == nullptr && nccl.get_version(&nccl.version) == NcclResult::success;
  if (answers && nccl.version >= kNcclMinVersion) return Status::success();
  const std::string found = missing != nullptr ? fmt::format("it has no {}", missing) : fmt::format("it is {}", nccl.version_text());
  return Status(StatusCode::unsupported, Scope::process, "NCCL is too old: {}, and 2.27 is needed", found).advise("install NCCL 2.27 or later");
}

}  // namespace

std::string NcclLibrary::version_text() const { return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100); }

Result<const NcclLibrary*> load_nccl(const std::string& path) {
  static Mutex mutex;
  static NcclLibrary nccl;
  static bool loaded = false;
  const MutexLock lock(mutex);
  if (!loaded) CKPT_RETURN_IF_ERROR(load(path, nccl));
  loaded = true;
  return &nccl;
}

}  // namespace ckpt
