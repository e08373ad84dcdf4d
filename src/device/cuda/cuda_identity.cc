#include "device/cuda/cuda_identity.h"

#include <array>

namespace ckpt {
namespace {

/// 8-4-4-4-12 lower-case digits, as torch prints it.
std::string uuid_text(const CuUuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid.bytes[i]);
  }
  return text;
}

}  // namespace

Result<CudaIdentity> identify_cuda_device(const CudaDriver& cuda, int ordinal) {
  CudaIdentity identity{};
  CuUuid own{};
  CuUuid whole{};
  CKPT_RETURN_IF_ERROR(cuda.check(cuda.device_get(&identity.device, ordinal), "cuDeviceGet"));
  CKPT_RETURN_IF_ERROR(cuda.check(cuda.device_uuid(&own, identity.device), "cuDeviceGetUuid_v2"));
  CKPT_RETURN_IF_ERROR(cuda.check(cuda.device_uuid_v1(&whole, identity.device), "cuDeviceGetUuid"));
  identity.slice = own.bytes != whole.bytes;
  identity.uuid = (identity.slice ? "MIG-" : "GPU-") + uuid_text(own);
  return identity;
}

std::string pci_bus_id_of(const CudaDriver& cuda, CuDevice device) {
  std::array<char, 32> id{};
  return cuda.device_pci_bus_id(id.data(), id.size(), device) == kCuSuccess ? std::string(id.data()) : std::string();
}

}  // namespace ckpt
