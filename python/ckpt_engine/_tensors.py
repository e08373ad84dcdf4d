"""Named tensors of torch, numpy, DLPack and the buffer protocol, as the library takes them: pointers to the caller's
memory, no copy of what is contiguous.

Nothing is imported: a tensor's own package is there already.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from . import errors
from ._dtypes import SAFETENSORS_NAMES
from ._library import Tensor

_BUFFER_KINDS = {
    "?": "BOOL",
    "B": "U",
    "b": "I",
    "c": "U",
    "H": "U",
    "h": "I",
    "I": "U",
    "i": "I",
    "L": "U",
    "l": "I",
    "Q": "U",
    "q": "I",
    "N": "U",
    "n": "I",
}
_BUFFER_KINDS.update({"e": "F", "f": "F", "d": "F"})
_DLPACK_KINDS = {
    0: "I",
    1: "U",
    2: "F",
    4: "BF",
    5: "C",
    6: "BOOL",
    10: "F8_E4M3",
    11: "F8_E4M3FNUZ",
    12: "F8_E5M2",
    13: "F8_E5M2FNUZ",
    14: "F8_E8M0",
}
_DLPACK_HOST = (1, 3)  # kDLCPU, kDLCUDAHost
_DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


class NamedTensors:
    """Tensors by name, as an array of ckpt_tensor. Keeps them, and the copies that had to be made, while it lives.

    Raises InvalidArgumentError for an object that is no tensor or of a dtype that checkpoints do not have,
    UnsupportedError for one that is neither in host memory nor on a CUDA GPU; both name the tensor.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._kept: List[Any] = []
        self.array = (Tensor * len(tensors))()
        for place, (name, tensor) in zip(self.array, tensors.items()):
            if not isinstance(name, str) or "\0" in name:
                raise errors.InvalidArgumentError(f"{name!r} is no name of a tensor")
            try:
                seen = _seen(tensor)
            except errors.CkptError as error:
                raise type(error)(f"tensor {name}: {error.message}", advice=error.advice) from None
            self._kept.append(seen)
            place.name = name.encode()
            place.dtype = seen.dtype.encode()
            place.shape = (c_uint64 * len(seen.shape))(*seen.shape)
            place.num_dimensions = len(seen.shape)
            place.on_device = seen.on_device
            place.data = seen.address
            place.bytes = seen.bytes

    def __len__(self) -> int:
        return len(self.array)


class _Seen:
    """Where a tensor lies. `owner` keeps the memory."""

    def __init__(
        self, dtype: str, shape: Sequence[int], address: int, num_bytes: int, owner: Any, on_device: bool = False
    ) -> None:
        self.dtype, self.shape, self.address, self.bytes = dtype, tuple(shape), address, num_bytes
        self.owner, self.on_device = owner, int(on_device)


def _seen(tensor: Any) -> _Seen:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(tensor, torch.Tensor):
        return _of_torch(torch, tensor)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(tensor, numpy.ndarray):
        return _of_numpy(numpy, tensor)
    if hasattr(tensor, "__dlpack__"):
        return _of_dlpack(tensor)
    try:
        view = memoryview(tensor)
    except TypeError:
        raise errors.InvalidArgumentError(
            f"{type(tensor).__module__}.{type(tensor).__qualname__} is no tensor of torch or numpy, and has neither "
            "__dlpack__ nor a buffer"
        ) from None
    return _of_buffer(view)


def _of_torch(torch: Any, tensor: Any) -> _Seen:
    dtype = SAFETENSORS_NAMES.get(str(tensor.dtype).rpartition(".")[2])
    if dtype is None:
        raise errors.InvalidArgumentError(f"checkpoints have no dtype {tensor.dtype}")
    on_device = tensor.device.type == "cuda"
    if not on_device and tensor.device.type != "cpu":
        raise errors.UnsupportedError(f"it lies on {tensor.device}", advice="give tensors of the CPU or of a GPU")
    whole = tensor.detach().contiguous()
    if on_device:
        torch.cuda.current_stream(whole.device).synchronize()  # what makes it must be done before others read it
    return _Seen(dtype, whole.shape, whole.data_ptr(), whole.numel() * whole.element_size(), whole, on_device)


def _of_numpy(numpy: Any, array: Any) -> _Seen:
    name = array.dtype.name
    dtype = SAFETENSORS_NAMES.get(name)  # ml_dtypes' names too: bfloat16, float8_e4m3fn
    if dtype is None or not array.dtype.isnative:
        raise errors.InvalidArgumentError(f"checkpoints have no dtype {array.dtype!r}")
    whole = numpy.asarray(array, order="C")
    return _Seen(dtype, whole.shape, whole.__array_interface__["data"][0], whole.nbytes, whole)


class _DlTensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _of_dlpack(tensor: Any) -> _Seen:
    kind, _ = tensor.__dlpack_device__()
    on_device = int(kind) in _DLPACK_CUDA
    if not on_device and int(kind) not in _DLPACK_HOST:
        raise errors.UnsupportedError(
            f"it lies on a device of DLPack's kind {int(kind)}", advice="copy it to the CPU first"
        )
    capsule = tensor.__dlpack__()  # not renamed: it gives the memory back when it goes
    seen = _DlTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    kind_name = _DLPACK_KINDS.get(seen.code)
    dtype = kind_name if kind_name is None or kind_name.startswith(("F8", "BOOL")) else f"{kind_name}{seen.bits}"
    if dtype is None or dtype not in SAFETENSORS_NAMES.values() or seen.lanes != 1:
        raise errors.InvalidArgumentError(
            f"checkpoints have no dtype of DLPack's code {seen.code}, {seen.bits} bits, {seen.lanes} lanes"
        )
    shape = seen.shape[: seen.ndim]
    if seen.strides and not _contiguous(shape, seen.strides[: seen.ndim]):
        raise errors.InvalidArgumentError(
            f"its memory has gaps: shape {shape}, strides {seen.strides[: seen.ndim]}",
            advice="make it contiguous first",
        )
    count = 1
    for size in shape:
        count *= size
    address = (seen.data or 0) + seen.byte_offset
    return _Seen(dtype, shape, address, count * seen.bits // 8, (tensor, capsule), on_device)


def _contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides)):
        if size == 0:
            return True
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


class _PyBuffer(ctypes.Structure):
    """Py_buffer of the interpreter: tells where read-only memory lies too."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", c_void_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, POINTER(_PyBuffer), ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [POINTER(_PyBuffer)]
_release_buffer.restype = None


def _of_buffer(view: memoryview) -> _Seen:
    order, letter = _format(view.format)
    kind = _BUFFER_KINDS.get(letter)
    if kind is None or order not in ("", "@", "=", "<"):
        raise errors.InvalidArgumentError(f"checkpoints have no dtype of the buffer format {view.format!r}")
    dtype = kind if kind == "BOOL" else f"{kind}{view.itemsize * 8}"
    shape: Tuple[int, ...] = view.shape if view.shape is not None else (view.nbytes // view.itemsize,)
    whole = view if view.c_contiguous else memoryview(view.tobytes())
    return _Seen(dtype, shape, _address(whole), view.nbytes, whole)


def _format(given: Optional[str]) -> Tuple[str, str]:
    """Byte order and letter of a struct format of one item; "B" where none is given."""
    return (given[:-1], given[-1]) if given else ("", "B")


def _address(whole: memoryview) -> int:
    """Where a contiguous buffer lies, as long as the memoryview lives."""
    seen = _PyBuffer()
    _get_buffer(whole, ctypes.byref(seen), 0)
    try:
        return seen.buf or 0
    finally:
        _release_buffer(ctypes.byref(seen))
