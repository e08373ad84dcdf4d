#include "device/host/host_device.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "device/host/host_stream.h"
#include "os/boot_id.h"
#include "os/limits.h"
#include "os/memory.h"
#include "os/shared_memory.h"
#include "os/threads.h"

namespace ckpt {
namespace {

class HostBuffer final : public DeviceBuffer {
 public:
  HostBuffer(UniqueFd fd, Mapping mapping, std::uint64_t bytes) : fd_(std::move(fd)), mapping_(std::move(mapping)), bytes_(bytes) {}
  [[nodiscard]] std::byte* data() override { return mapping_.data(); }
  [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
  [[nodiscard]] ExportedBuffer exported() const override { return {{}, fd_.get(), bytes_}; }

 private:
  UniqueFd fd_;
  Mapping mapping_;
  std::uint64_t bytes_;
};

class HostDevice final : public Device {
 public:
  HostDevice(std::string key, unsigned threads) : key_(std::move(key)), threads_(threads), pool_(threads) {}

  [[nodiscard]] std::string_view kind() const override { return "host"; }
  [[nodiscard]] const std::string& key() const override { return key_; }
  [[nodiscard]] bool host_addressable() const override { return true; }
  [[nodiscard]] Result<DeviceMemory> memory() const override {
    const std::uint64_t total = total_memory();
    return DeviceMemory{std::min(available_memory(), hard_memory_bound().bytes), total};
  }
  [[nodiscard]] Result<std::unique_ptr<DeviceStream>> create_stream() override { return HostStream::create(pool_); }

  [[nodiscard]] Result<std::unique_ptr<DeviceBuffer>> allocate(std::uint64_t bytes) override {
    CKPT_CHECK(bytes > 0 && bytes % kTensorAlignment == 0);
    CKPT_RETURN_IF_ERROR(check_memory(bytes, "the device buffer"));
    const std::uint64_t whole = align_up(bytes, 4096);
    CKPT_ASSIGN_OR_RETURN(UniqueFd fd, create_memfd("ckpt-slots", whole));
    CKPT_ASSIGN_OR_RETURN(Mapping mapping, Mapping::shared(fd.get(), whole, Access::read_write));
    wish_huge_pages(mapping.span());
    CKPT_RETURN_IF_ERROR(populate(mapping.span(), threads_));
    return std::unique_ptr<DeviceBuffer>(new HostBuffer(std::move(fd), std::move(mapping), bytes));
  }
  [[nodiscard]] Status register_host(std::span<std::byte>, Access) override { return Status::success(); }
  void unregister_host(std::span<std::byte>) noexcept override {}
  [[nodiscard]] Status use_on_this_thread() override { return Status::success(); }
  [[nodiscard]] std::string pci_bus_id() const override { return {}; }

 private:
  std::string key_;
  unsigned threads_;
  CopyPool pool_;
};

}  // namespace

Result<std::unique_ptr<Device>> make_host_device(const HostDeviceOptions& options) {
  CKPT_ASSIGN_OR_RETURN(const std::string boot, boot_id());
  const unsigned threads = options.copy_threads != 0 ? options.copy_threads : std::min(usable_cores(), 4u);
  return std::unique_ptr<Device>(new HostDevice(fmt::format("HOST-{}-{}", boot, options.rank), threads));
}

}  // namespace ckpt
