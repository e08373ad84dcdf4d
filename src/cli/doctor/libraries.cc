#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>

#include "cli/doctor/probes.h"

namespace ckpt {
namespace {

/// A shared library loaded for a look. Never unloaded: GPU drivers and UCX start threads.
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

struct Gpus {
  int count = 0;
  std::string value;
};

Gpus count_gpus() {
  const Library driver("libcuda.so.1");
  auto* init = driver.function<int(unsigned)>("cuInit");
  auto* count = driver.function<int(int*)>("cuDeviceGetCount");
  auto* version = driver.function<int(int*)>("cuDriverGetVersion");
  if (init == nullptr || count == nullptr || version == nullptr) return {0, "no driver (libcuda.so.1)"};
  if (const int error = init(0); error != 0) return {0, fmt::format("driver found, cuInit fails with error {}", error)};
  Gpus gpus;
  int number = 0;
  static_cast<void>(version(&number));
  if (const int error = count(&gpus.count); error != 0) return {0, fmt::format("driver found, counting fails with error {}", error)};
  gpus.value = fmt::format("{}, driver API {}.{}", gpus.count, number / 1000, number % 1000 / 10);
  if (auto* name = driver.function<int(char*, int, int)>("cuDeviceGetName"); name != nullptr && gpus.count > 0) {
    std::array<char, 128> text{};
    if (name(text.data(), static_cast<int>(text.size()) - 1, 0) == 0) gpus.value += fmt::format(", {}", text.data());
  }
  return gpus;
}

Finding examine_nccl(bool needed) {
  const Library nccl("libnccl.so.2");
  int number = 0;
  auto* version = nccl.function<int(int*)>("ncclGetVersion");
  if (version != nullptr && version(&number) == 0)
    return {"libraries", "NCCL", fmt::format("{}.{}.{}", number / 10000, number % 10000 / 100, number % 100), Verdict::good, "", ""};
  if (!needed) return {"libraries", "NCCL", "not found (not needed without GPUs)", Verdict::good, "", ""};
  return {"libraries",
          "NCCL",
          nccl.error(),
          Verdict::lack,
          "GPUs cannot exchange buckets",
          "pip install nvidia-nccl-cu12 and put its lib folder on LD_LIBRARY_PATH"};
}

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

std::vector<Finding> examine_libraries() {
  const Gpus gpus = count_gpus();
  Finding device{"libraries", "GPUs", gpus.value, gpus.count > 0 ? Verdict::good : Verdict::note, "", ""};
  if (gpus.count == 0) device.mend = "the device is host memory (--device host)";
  return {device, examine_nccl(gpus.count > 1), examine_ucx(), examine_mooncake()};
}

}  // namespace ckpt
