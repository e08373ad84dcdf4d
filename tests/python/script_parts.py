"""What the rank programs of these tests are made of. They run as users' scripts do: started by `ckpt-engine launch`, nothing but the package imported."""

import ctypes
import json
import os
import sys
from pathlib import Path

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))

_DLPACK = {"F8_E4M3": (10, 8), "BF16": (4, 16), "F16": (2, 16), "F32": (2, 32), "I64": (0, 64), "U8": (1, 8)}


class _DlTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
                ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]  # fmt: skip


class HostTensor:
    """Bytes as a tensor of any dtype, by DLPack: numpy has no bfloat16."""

    def __init__(self, dtype, shape, data):
        self.memory = (ctypes.c_char * max(1, len(data))).from_buffer_copy(data or b"\0")
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        code, bits = _DLPACK[dtype]
        self.managed = _DlTensor(
            data=ctypes.addressof(self.memory),
            device=(1, 0),
            ndim=len(shape),
            code=code,
            bits=bits,
            lanes=1,
            shape=self.shape,
        )

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **_):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor", None)


def tensors_of(file):
    data = Path(file).read_bytes()
    length = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, HostTensor(entry["dtype"], entry["shape"], data[8 + length + begin : 8 + length + end])


def files_of(directory):
    """This rank's files of a checkpoint."""
    return [str(path) for path in sorted(Path(directory).glob("*.safetensors"))][RANK::WORLD_SIZE]


def named_tensors_of(directory):
    """This rank's tensors of a checkpoint, spread unevenly."""
    every = [pair for path in sorted(Path(directory).glob("*.safetensors")) for pair in tensors_of(path)]
    return dict(
        every[: len(every) // 3]
        if RANK == 0 and WORLD_SIZE > 1
        else every[len(every) // 3 :][RANK - 1 :: WORLD_SIZE - 1]
        if WORLD_SIZE > 1
        else every
    )


def ask_engines(endpoints, tensor_parallel, version=None):
    """A req_func as scripts have it: the first rank of each engine asks it."""
    import ckpt_engine

    def req_func(socket_paths):
        first = RANK // tensor_parallel * tensor_parallel
        if RANK == first:
            paths = dict(socket_paths[first : first + tensor_parallel])
            ckpt_engine.request_inference_to_update(
                f"{endpoints[RANK // tensor_parallel]}/collective_rpc", paths, 60, weight_version=version
            )

    return req_func


def tell(what):
    """A line for the test, which reads them by rank."""
    sys.stdout.write(f"{json.dumps([RANK, what])}\n")
    sys.stdout.flush()


def failure(call, *arguments, **named):
    """The error that a call raises: its class and text."""
    try:
        call(*arguments, **named)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["none", ""]
