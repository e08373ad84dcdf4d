"""rebuild_cuda_tensor with the signature and the checks of torch 2.5 to 2.13."""


def rebuild_cuda_tensor(
    tensor_cls,
    tensor_size,
    tensor_stride,
    tensor_offset,
    storage_cls,
    dtype,
    storage_device,
    storage_handle,
    storage_size_bytes,
    storage_offset_bytes,
    requires_grad,
    ref_counter_handle,
    ref_counter_offset,
    event_handle,
    event_sync_required,
):
    import torch

    assert tensor_cls is torch.Tensor and storage_cls is torch.storage.TypedStorage
    assert isinstance(storage_device, int) and tensor_stride == (1,) and tensor_offset == 0 and storage_offset_bytes == 0
    assert isinstance(ref_counter_handle, bytes) and ref_counter_offset == 0 and isinstance(event_handle, bytes)
    assert requires_grad is False and event_sync_required is False
    if not isinstance(storage_handle, bytes) or len(storage_handle) != 64:
        raise RuntimeError(f"{storage_handle!r} is no CUDA IPC handle")
    return torch.Tensor(torch.cuda.open_memory(storage_handle, storage_size_bytes), dtype, torch.Size(tensor_size))
