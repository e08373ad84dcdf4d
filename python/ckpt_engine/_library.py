"""libckpt.so: where it is, and its functions as include/ckpt/ckpt.h declares them. Each is declared here once; a test
compares with the header.

A call lets other Python threads run (ctypes gives the lock back). Texts that it takes are bytes in UTF-8.
"""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import POINTER, c_char_p, c_int32, c_uint32, c_uint64, c_void_p
from typing import Any, Dict, Optional, Tuple

from . import errors

ABI_VERSION = 1

RUNNING, DONE, CALL_ENGINES = 0, 1, 2  # ckpt_operation_state


class Tensor(ctypes.Structure):
    """ckpt_tensor: a tensor in the caller's memory, row-major, without gaps."""

    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_char_p),
        ("shape", POINTER(c_uint64)),
        ("num_dimensions", c_uint32),
        ("on_device", c_int32),
        ("data", c_void_p),
        ("bytes", c_uint64),
    ]


class Source(ctypes.Structure):
    """ckpt_source: where a rank's part of a checkpoint comes from."""

    _fields_ = [
        ("directory", c_char_p),
        ("files", POINTER(c_char_p)),
        ("num_files", c_uint32),
        ("tensors", POINTER(Tensor)),
        ("num_tensors", c_uint32),
    ]


class PlacedTensor(ctypes.Structure):
    """ckpt_placed_tensor: where a tensor of a bucket lies in the buffer."""

    _fields_ = [("offset_bytes", c_uint64), ("bytes", c_uint64), ("dtype", c_uint32), ("num_dimensions", c_uint32)]


class Event(ctypes.Structure):
    """ckpt_event: one message of the sender's."""

    _fields_ = [
        ("kind", c_int32),
        ("native", c_int32),
        ("buffer_bytes", c_uint64),
        ("host_buffer", c_void_p),
        ("host_fd", c_int32),
        ("cuda_ipc_handle", c_void_p),
        ("cuda_ipc_handle_bytes", c_uint32),
        ("cuda_handle_json", c_char_p),
        ("bucket", c_uint32),
        ("num_tensors", c_uint32),
        ("layout", c_uint64),
        ("tensors", POINTER(PlacedTensor)),
        ("shapes", POINTER(c_uint64)),
        ("num_shapes", c_uint64),
        ("names", c_void_p),
        ("names_bytes", c_uint64),
    ]


_pointer = c_void_p  # to an object of the library
_out = POINTER(c_void_p)  # where it writes one

#: name: (what it returns, what it takes)
FUNCTIONS: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "ckpt_abi_version": (c_int32, ()),
    "ckpt_version": (c_char_p, ()),
    "ckpt_code_name": (c_char_p, (c_int32,)),
    "ckpt_error_code": (c_int32, (_pointer,)),
    "ckpt_error_text": (c_char_p, (_pointer,)),
    "ckpt_error_message": (c_char_p, (_pointer,)),
    "ckpt_error_stage": (c_char_p, (_pointer,)),
    "ckpt_error_advice": (c_char_p, (_pointer,)),
    "ckpt_error_rank": (c_int32, (_pointer,)),
    "ckpt_error_free": (None, (_pointer,)),
    "ckpt_operation_wait": (c_int32, (_pointer, c_uint32)),
    "ckpt_operation_progress": (None, (_pointer, POINTER(c_char_p), POINTER(c_uint64), POINTER(c_uint64))),
    "ckpt_operation_addresses": (c_char_p, (_pointer,)),
    "ckpt_operation_engines_replied": (None, (_pointer, c_char_p)),
    "ckpt_operation_cancel": (None, (_pointer, c_char_p)),
    "ckpt_operation_result": (c_int32, (_pointer, POINTER(c_char_p), _out)),
    "ckpt_operation_free": (None, (_pointer,)),
    "ckpt_server_create": (c_int32, (c_char_p, _out, _out)),
    "ckpt_server_free": (None, (_pointer,)),
    "ckpt_server_join_start": (c_int32, (_pointer, c_char_p, c_uint32, _out, _out)),
    "ckpt_server_leave_start": (c_int32, (_pointer, c_uint32, _out, _out)),
    "ckpt_server_register_start": (c_int32, (_pointer, c_char_p, POINTER(Source), c_char_p, c_uint32, _out, _out)),
    "ckpt_server_unregister": (c_int32, (_pointer, c_char_p, c_int32, _out)),
    "ckpt_server_gather_metas_start": (c_int32, (_pointer, c_char_p, c_uint32, _out, _out)),
    "ckpt_server_metas": (c_int32, (_pointer, c_char_p, POINTER(c_char_p), _out)),
    "ckpt_server_update_start": (c_int32, (_pointer, c_char_p, c_char_p, c_uint32, _out, _out)),
    "ckpt_server_rollback_start": (c_int32, (_pointer, c_char_p, c_uint32, _out, _out)),
    "ckpt_server_forget_versions": (c_int32, (_pointer, _out)),
    "ckpt_server_barrier_start": (c_int32, (_pointer, c_char_p, c_uint32, _out, _out)),
    "ckpt_dtype_name": (c_char_p, (c_uint32,)),
    "ckpt_receiver_open": (c_int32, (c_char_p, c_char_p, _out, _out)),
    "ckpt_receiver_next": (c_int32, (_pointer, c_uint32, POINTER(Event), _out)),
    "ckpt_receiver_answer": (c_int32, (_pointer, c_char_p, _out)),
    "ckpt_receiver_close": (None, (_pointer,)),
}

_lock = threading.Lock()
_loaded: Optional[ctypes.CDLL] = None


def library() -> ctypes.CDLL:
    """The library, loaded at the first call: the file of CKPT_LIBRARY, else lib/libckpt.so of this package.

    Raises NotFoundError where there is none, and UnsupportedError for one of another version.
    """
    global _loaded
    if _loaded is not None:
        return _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load()
    return _loaded


def _load() -> ctypes.CDLL:
    path = os.environ.get("CKPT_LIBRARY") or os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "lib", "libckpt.so"
    )
    try:
        loaded = ctypes.CDLL(path)
    except OSError as error:
        advice = "install the package with pip, or set CKPT_LIBRARY to the file libckpt.so of a build"
        raise errors.NotFoundError(f"loading {path}: {error}", advice=advice) from None
    found = loaded.ckpt_abi_version()
    if found != ABI_VERSION:
        raise errors.UnsupportedError(
            f"{path} speaks version {found} of the C interface, this package {ABI_VERSION}",
            advice="install the two together",
        )
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded


def text(value: Optional[bytes]) -> str:
    """A text that the library gave; "" for null."""
    return "" if value is None else value.decode("utf-8", "replace")


def exception_of(loaded: ctypes.CDLL, code: int, error: c_void_p) -> errors.CkptError:
    """The exception for a code that is not ok. Frees `error`, which may be null."""
    kind = errors.BY_CODE.get(text(loaded.ckpt_code_name(code)), errors.InternalError)
    if not error:
        return kind(f"code {code}")
    try:
        rank = loaded.ckpt_error_rank(error)
        return kind(
            text(loaded.ckpt_error_message(error)),
            stage=text(loaded.ckpt_error_stage(error)),
            rank=None if rank < 0 else rank,
            advice=text(loaded.ckpt_error_advice(error)),
            text=text(loaded.ckpt_error_text(error)),
        )
    finally:
        loaded.ckpt_error_free(error)


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a code and takes `ckpt_error**` last, which is left out here. Raises what it
    reports."""
    loaded = library()
    error = c_void_p()
    code = getattr(loaded, name)(*arguments, ctypes.byref(error))
    if code != 0:
        raise exception_of(loaded, code, error)
