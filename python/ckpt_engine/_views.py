"""The sender's buffer as torch tensors: one typed view a dtype, and a strided view of it a tensor.

What is worked out for a bucket (names, shapes, strides, offsets) is kept under its layout, which is the same in every update of the same shapes: then a
tensor costs one call into torch.
"""

from __future__ import annotations

import json
import mmap
import warnings
from functools import lru_cache
from typing import Dict, List, Optional, Tuple

import torch

from . import _receiver

#: By the index of the library's dtypes, as safetensors names them; the names are torch's.
_TORCH_NAMES = (
    "bool float4_e2m1fn_x2 - - uint8 int8 float8_e5m2 float8_e4m3fn float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz "
    "int16 uint16 float16 bfloat16 int32 uint32 float32 complex64 float64 int64 uint64"
).split()

_MAX_PLACED = 2_000_000  # tensors whose places are kept, of all layouts together: some hundreds of bytes each


#: A tensor's name, dtype, shape, stride, and offset in elements from the start of the buffer. A plain tuple: those are taken apart fastest.
_Place = Tuple[str, int, Tuple[int, ...], Tuple[int, ...], int]

_places: Dict[int, List[_Place]] = {}  # by layout


def _dtype_of(index: int) -> torch.dtype:
    name = _TORCH_NAMES[index] if index < len(_TORCH_NAMES) else "-"
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"this torch ({torch.__version__}) has no dtype for the library's number {index} ({name})")
    return dtype


@lru_cache(maxsize=4096)
def _itemsize(index: int) -> int:
    size: int = _dtype_of(index).itemsize
    return size


@lru_cache(maxsize=4096)
def _stride_of(shape: Tuple[int, ...]) -> Tuple[int, ...]:
    stride = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        stride[i] = stride[i + 1] * max(shape[i + 1], 1)
    return tuple(stride)


def _places_of(receiver: _receiver.Receiver) -> List[_Place]:
    layout: int = receiver.event.layout
    known = _places.get(layout)
    if known is not None:
        return known
    made = [
        (name, dtype, shape, _stride_of(shape), offset_bytes // _itemsize(dtype)) for name, dtype, shape, offset_bytes in receiver.placements()
    ]
    if sum(map(len, _places.values())) + len(made) > _MAX_PLACED:
        _places.clear()
    _places[layout] = made
    return made


class SenderBuffer:
    """The buffer of a HANDLE event, mapped. The tensors that views() gives hold the mapping: nothing is unmapped under them."""

    def __init__(self, receiver: _receiver.Receiver, device_id: Optional[int]) -> None:
        """device_id: index of this worker's GPU; of no meaning for host memory. Raises what torch or the system raises when the memory cannot be
        mapped."""
        handle = receiver.cuda_handle()
        self._on_gpu = bool(handle)
        self._device = device_id
        self._flat: Dict[int, torch.Tensor] = {}
        self._bytes = _open_gpu_memory(receiver, handle, device_id) if handle else _map_host_memory(receiver)

    def views(self, receiver: _receiver.Receiver) -> List[Tuple[str, torch.Tensor]]:
        """The tensors of a BUCKET event, in the sender's order."""
        places = _places_of(receiver)
        flat = self._flat
        for dtype in {place[1] for place in places}.difference(flat):
            flat[dtype] = self._bytes[: self._bytes.numel() // _itemsize(dtype) * _itemsize(dtype)].view(_dtype_of(dtype))
        as_strided = torch.as_strided
        if self._bytes.storage_offset() == 0:
            return [(name, as_strided(flat[dtype], shape, stride, offset)) for name, dtype, shape, stride, offset in places]
        return [
            (name, as_strided(flat[dtype], shape, stride, flat[dtype].storage_offset() + offset)) for name, dtype, shape, stride, offset in places
        ]

    def synchronize(self) -> None:
        """Waits until the GPU has done what was asked of it: the sender may refill the memory afterwards."""
        if self._on_gpu or (torch.cuda.is_available() and torch.cuda.is_initialized()):
            torch.cuda.synchronize(self._device)

    def release(self) -> None:
        """Lets the memory go, as far as nobody else holds views of it."""
        self.synchronize()
        self._flat.clear()
        del self._bytes
        if self._on_gpu:
            torch.cuda.ipc_collect()
            torch.cuda.empty_cache()
            torch.cuda.synchronize(self._device)


def _map_host_memory(receiver: _receiver.Receiver) -> torch.Tensor:
    # A mapping of Python's own: the storage holds it, so that views that outlive the session read old bytes and not nothing.
    memory = mmap.mmap(receiver.event.host_fd, receiver.event.buffer_bytes, prot=mmap.PROT_READ)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to: so it is meant
        return torch.frombuffer(memory, dtype=torch.uint8)


def _open_gpu_memory(receiver: _receiver.Receiver, handle: bytes, device_id: Optional[int]) -> torch.Tensor:
    from torch.multiprocessing.reductions import rebuild_cuda_tensor

    arguments = json.loads(receiver.event.cuda_handle_json)
    buffer: torch.Tensor = rebuild_cuda_tensor(
        torch.Tensor,
        torch.Size(arguments["tensor_size"]),
        tuple(arguments["tensor_stride"]),
        arguments["tensor_offset"],
        torch.storage.TypedStorage,
        torch.uint8,
        arguments["storage_device"] if device_id is None else device_id,  # the sender may number the GPUs otherwise
        handle,
        arguments["storage_size_bytes"],
        arguments["storage_offset_bytes"],
        arguments["requires_grad"],
        bytes.fromhex(arguments["ref_counter_handle"]),
        arguments["ref_counter_offset"],
        bytes.fromhex(arguments["event_handle"]),
        arguments["event_sync_required"],
    )
    return buffer
