#include <dlfcn.h>
#include <cstdlib>

#include "cli/doctor/probes.h"

namespace ckpt {
namespace {

/// A shared library loaded for a look. Never unloaded: UCX starts threads.
class Library {
 public:
  explicit Library(const char* file) : handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) {
      const char* text = ::dlerror();
      error_ = text == nullptr ? "cannot be loaded" : text;
    }
  }
  [[nodiscard]] bool loaded() const { return handle_ != nullptr; }
  [[nodiscard]] const std::string& error() const { return error_; }
  template <typename Function>
  [[nodiscard]] Function* function(const char* name) const {
    return loaded() ? reinterpret_cast<Function*>(::dlsym(handle_, name)) : nullptr;
  }

 private:
  void* handle_;
  std::string error_;
};

Finding examine_ucx() {
  // UCX otherwise takes over the handlers of fatal signals when it is loaded
  static_cast<void>(::setenv("UCX_ERROR_SIGNALS", "", 0));
  const Library ucx("libucp.so.0");
  if (auto* version = ucx.function<const char*()>("ucp_get_version_string"); version != nullptr)
    return {"libraries", "UCX", version(), Verdict::good, "", ""};
  return {"libraries",
          "UCX",
          ucx.error(),
          Verdict::lack,
          "several ranks without GPUs, and ranks on several hosts, cannot exchange weights",
          "sudo apt-get install libucx0"};
}

Finding examine_mooncake() {
  if (Library("libtransfer_engine.so").loaded()) return {"libraries", "Mooncake", "found", Verdict::good, "", ""};
  return {"libraries", "Mooncake", "not found (optional)", Verdict::good, "", ""};
}

}  // namespace

std::vector<Finding> examine_libraries() { return {examine_ucx(), examine_mooncake()}; }

}  // namespace ckpt
