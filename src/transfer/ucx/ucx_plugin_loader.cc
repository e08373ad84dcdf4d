#include "transfer/ucx/ucx_plugin_loader.h"

#include <dlfcn.h>

#include <filesystem>
#include <vector>

#include "base/fault_point.h"

namespace ckpt {
namespace {

std::vector<std::string> candidates(const std::string& path) {
  if (!path.empty()) return {path};
  std::error_code ignored;
  const std::string directory = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string();
  return {directory + "/../lib/libckpt_ucx.so", directory + "/libckpt_ucx.so"};
}

}  // namespace

Result<const CkptUcxApi*> load_ucx_plugin(const std::string& path) {
  CKPT_FAULT_POINT("sys.dlopen");
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
