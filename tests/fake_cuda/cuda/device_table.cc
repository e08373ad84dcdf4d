#include "cuda/device_table.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace ckpt::fake {
namespace {

/// Different from the first byte on, so that short prefixes are enough.
CuUuid make_uuid(int gpu, int slice) {
  CuUuid uuid{{0, 0xfa, 0x4e, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0}};
  uuid.bytes[0] = static_cast<unsigned char>(slice < 0 ? 0xf0 - gpu : 0x10 + gpu * 16 + slice);
  uuid.bytes[14] = static_cast<unsigned char>(gpu);
  uuid.bytes[15] = static_cast<unsigned char>(slice + 1);
  return uuid;
}

VisibleDevice whole(const Settings& settings, int gpu) {
  return {gpu, -1, make_uuid(gpu, -1), make_uuid(gpu, -1), settings.device_bytes, settings.machine};
}

VisibleDevice slice_of(const Settings& settings, int gpu, int slice) {
  return {gpu,
          slice,
          make_uuid(gpu, -1),
          make_uuid(gpu, slice),
          settings.device_bytes / static_cast<unsigned>(settings.slices.at(gpu)),
          settings.machine};
}

/// As an index means it: the GPU, or its first slice.
std::optional<VisibleDevice> by_index(const Settings& settings, int gpu) {
  if (gpu < 0 || gpu >= settings.num_devices) return std::nullopt;
  return settings.slices.contains(gpu) ? slice_of(settings, gpu, 0) : whole(settings, gpu);
}

/// The one device whose name begins with `entry`; a divided GPU's own name means its first slice.
std::optional<VisibleDevice> by_uuid(const Settings& settings, const std::string& entry) {
  std::optional<VisibleDevice> found;
  for (const VisibleDevice& device : all_devices(settings)) {
    const std::string name = (device.slice < 0 ? "GPU-" : "MIG-") + uuid_text(device.uuid);
    if (name.compare(0, entry.size(), entry) != 0) continue;
    if (found) return std::nullopt;  // it could be either
    found = device;
  }
  if (found && found->slice < 0) return by_index(settings, found->gpu);
  return found;
}

std::optional<VisibleDevice> find(const Settings& settings, const std::string& entry) {
  if (entry.starts_with("GPU-") || entry.starts_with("MIG-")) return by_uuid(settings, entry);
  char* end = nullptr;
  const long index = std::strtol(entry.c_str(), &end, 10);
  if (entry.empty() || *end != '\0') return std::nullopt;
  return by_index(settings, static_cast<int>(index));
}

}  // namespace

std::string VisibleDevice::name() const { return slice < 0 ? "Software GPU" : "Software GPU MIG"; }

std::string VisibleDevice::pci_bus_id() const {
  char text[16];
  std::snprintf(text, sizeof text, "0000:%02X:00.0", static_cast<unsigned>(0x1a + gpu * 0x11));  // capitals, as CUDA has them
  return text;
}

std::string VisibleDevice::place() const { return slice < 0 ? std::to_string(gpu) : std::to_string(gpu) + "." + std::to_string(slice); }

std::vector<VisibleDevice> all_devices(const Settings& settings) {
  std::vector<VisibleDevice> devices;
  for (int gpu = 0; gpu < settings.num_devices; ++gpu) {
    devices.push_back(whole(settings, gpu));
    const auto slices = settings.slices.find(gpu);
    for (int slice = 0; slices != settings.slices.end() && slice < slices->second; ++slice) devices.push_back(slice_of(settings, gpu, slice));
  }
  return devices;
}

std::vector<VisibleDevice> visible_devices(const Settings& settings) {
  std::vector<VisibleDevice> devices;
  if (!settings.visible) {
    for (int gpu = 0; gpu < settings.num_devices; ++gpu) devices.push_back(*by_index(settings, gpu));
    return devices;
  }
  std::istringstream entries(*settings.visible);
  for (std::string entry; std::getline(entries, entry, ',');) {
    const auto device = find(settings, entry);
    if (!device) break;
    if (std::any_of(devices.begin(), devices.end(), [&](const VisibleDevice& other) { return other.place() == device->place(); })) return {};
    devices.push_back(*device);
  }
  return devices;
}

std::string uuid_text(const CuUuid& uuid) {
  std::string text;
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
    char digits[4];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(uuid.bytes[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits;
  }
  return text;
}

}  // namespace ckpt::fake
