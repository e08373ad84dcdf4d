#include "hostpool/image_source.h"

namespace ckpt {

Result<ImageSource> ImageSource::open(const CheckpointFile& file) {
  if (file.memory) return ImageSource(file.memory, file.path);
  CKPT_ASSIGN_OR_RETURN(DirectFile opened, DirectFile::open(file.path));
  const bool replaced = file.modified_ns != 0 && opened.file().modified_ns() != file.modified_ns;
  if (replaced || opened.file().bytes() != file.bytes)
    return Status(StatusCode::data_corruption, Scope::operation, "{} was changed after its header was read: it had {} bytes and has {}", file.path,
                  file.bytes, opened.file().bytes())
        .advise("write new checkpoints to a directory of their own");
  return ImageSource(std::move(opened), file.path);
}

Status ImageSource::read(std::uint64_t offset, std::span<std::byte> into, bool* direct, DeviceReader& device, Deadline deadline) const {
  if (const DirectFile* file = disk_file(); file != nullptr) return file->read(offset, into, direct);
  *direct = false;
  const auto on_device = std::get<std::shared_ptr<const TensorMemory>>(origin_)->read(offset, into);
  return on_device.empty() ? Status::success() : device.read(on_device, deadline).with_note("{}", path_);
}

Status DeviceReader::read(std::span<const TensorMemory::DevicePart> parts, Deadline deadline) {
  const MutexLock lock(mutex_);
  if (!stream_) {
    CKPT_ASSIGN_OR_RETURN(stream_, device_.create_stream());
  }
  for (const TensorMemory::DevicePart& part : parts) CKPT_RETURN_IF_ERROR(stream_->copy_to_host(part.into, part.from));
  CKPT_ASSIGN_OR_RETURN(const std::unique_ptr<DeviceEvent> copied, stream_->record());
  const AbortSignal never;
  return copied->wait(deadline, never);
}

}  // namespace ckpt
