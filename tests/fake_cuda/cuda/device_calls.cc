// Calls on the driver, its devices and their contexts.
#include <cstring>

#include "cuda/driver_state.h"
#include "cuda/exports.h"

using namespace ckpt;        // NOLINT: the calls are C's
using namespace ckpt::fake;  // NOLINT

namespace {

const VisibleDevice* find_device(CuDevice device) {
  const auto& devices = driver_state().devices;
  return device >= 0 && static_cast<std::size_t>(device) < devices.size() ? &devices[static_cast<std::size_t>(device)] : nullptr;
}

template <typename Body>
CuResult on_device(const char* name, CuDevice number, Body body) {
  if (const CuResult result = begin_call(name); result != kCuSuccess) return result;
  const VisibleDevice* device = find_device(number);
  return device == nullptr ? kInvalidDevice : body(*device);
}

CuResult write_text(char* place, int size, const std::string& text) {
  if (place == nullptr || size <= 0) return kInvalidValue;
  std::snprintf(place, static_cast<std::size_t>(size), "%s", text.c_str());
  return kCuSuccess;
}

CuResult attribute_of(const VisibleDevice& device, int attribute, int* value) {
  switch (attribute) {
    case kCuAttributeIntegrated: *value = 0; return kCuSuccess;
    case kCuAttributeReadOnlyHostRegister: *value = driver_state().settings.read_only_registration ? 1 : 0; return kCuSuccess;
    case 33: *value = 0x1a + device.gpu * 0x11; return kCuSuccess;  // PCI bus
    case 34:                                                        // PCI device
    case 50: *value = 0; return kCuSuccess;                         // PCI domain
    case 41: *value = 1; return kCuSuccess;                         // unified addressing
    case 75: *value = 9; return kCuSuccess;                         // compute capability
    case 76: *value = 0; return kCuSuccess;
    default: return kInvalidValue;
  }
}

}  // namespace

CuResult cuInit(unsigned flags) {
  if (const CuResult result = begin_call("cuInit"); result != kCuSuccess) return result;
  if (flags != 0) return kInvalidValue;
  if (driver_state().devices.empty()) return kCuNoDevice;
  driver_state().initialized = true;
  return kCuSuccess;
}

CuResult cuDriverGetVersion(int* version) {
  *version = driver_state().settings.driver_version;
  return kCuSuccess;
}

CuResult cuGetErrorName(CuResult error, const char** name) {
  const ResultText* known = find_result_text(error);
  *name = known != nullptr ? known->name : nullptr;
  return known != nullptr ? kCuSuccess : kInvalidValue;
}

CuResult cuGetErrorString(CuResult error, const char** text) {
  const ResultText* known = find_result_text(error);
  *text = known != nullptr ? known->text : nullptr;
  return known != nullptr ? kCuSuccess : kInvalidValue;
}

CuResult cuDeviceGetCount(int* count) {
  if (const CuResult result = begin_call("cuDeviceGetCount"); result != kCuSuccess) return result;
  *count = static_cast<int>(driver_state().devices.size());
  return kCuSuccess;
}

CuResult cuDeviceGet(CuDevice* device, int ordinal) {
  return on_device("cuDeviceGet", ordinal, [&](const VisibleDevice&) {
    *device = ordinal;
    return kCuSuccess;
  });
}

CuResult cuDeviceGetName(char* name, int size, CuDevice device) {
  return on_device("cuDeviceGetName", device, [&](const VisibleDevice& found) { return write_text(name, size, found.name()); });
}

CuResult cuDeviceGetUuid(CuUuid* uuid, CuDevice device) {
  return on_device("cuDeviceGetUuid", device, [&](const VisibleDevice& found) {
    *uuid = found.gpu_uuid;
    return kCuSuccess;
  });
}

CuResult cuDeviceGetUuid_v2(CuUuid* uuid, CuDevice device) {
  return on_device("cuDeviceGetUuid", device, [&](const VisibleDevice& found) {
    *uuid = found.uuid;
    return kCuSuccess;
  });
}

CuResult cuDeviceGetAttribute(int* value, int attribute, CuDevice device) {
  return on_device("cuDeviceGetAttribute", device, [&](const VisibleDevice& found) { return attribute_of(found, attribute, value); });
}

CuResult cuDeviceTotalMem_v2(std::size_t* bytes, CuDevice device) {
  return on_device("cuDeviceTotalMem", device, [&](const VisibleDevice& found) {
    *bytes = found.bytes;
    return kCuSuccess;
  });
}

CuResult cuDeviceGetPCIBusId(char* id, int size, CuDevice device) {
  return on_device("cuDeviceGetPCIBusId", device, [&](const VisibleDevice& found) { return write_text(id, size, found.pci_bus_id()); });
}

CuResult cuDevicePrimaryCtxRetain(CuContext* context, CuDevice device) {
  return on_device("cuDevicePrimaryCtxRetain", device, [&](const VisibleDevice&) { return driver_state().contexts.retain(device, context); });
}

CuResult cuDevicePrimaryCtxRelease_v2(CuDevice device) {
  return on_device("cuDevicePrimaryCtxRelease", device, [&](const VisibleDevice&) { return driver_state().contexts.release(device); });
}

CuResult cuCtxSetCurrent(CuContext context) {
  if (const CuResult result = begin_call("cuCtxSetCurrent"); result != kCuSuccess) return result;
  return driver_state().contexts.set_current(context);
}
