"""The worker's end of a session with a sender, over libckpt.so: events as the library gives them, waits that Ctrl-C ends."""

from __future__ import annotations

import ctypes
import struct
from types import TracebackType
from typing import List, Optional, Tuple, Type

from . import _library

NONE, HANDLE, BUCKET, RELEASE, FINISH, END = range(6)  # ckpt_event_kind

_STEP_MS = 100  # a wait returns to the interpreter that often, so that signals are served
_PLACED_TENSOR = struct.Struct("=QQII")  # ckpt_placed_tensor


#: A tensor of a bucket: name, index of its dtype in the library's list, shape, and where it begins in the sender's buffer, in bytes.
Placement = Tuple[str, int, Tuple[int, ...], int]


class Receiver:
    """One session, from its address in the handle map on. `event` is the last one that next() returned, valid until it is called again.

    Raises what errors.py lists: CancelledError when the sender aborts, UnavailableError when it goes away. Threads: one at a time.
    """

    def __init__(self, address: str) -> None:
        """Does not wait. Raises InvalidArgumentError for options of the environment that cannot be read."""
        self._pointer = ctypes.c_void_p()
        self.event = _library.Event()
        self.native: Optional[bool] = None  #: whether the sender is ours; None before it has said anything
        _library.call("ckpt_receiver_open", address.encode(), None, ctypes.byref(self._pointer))

    def next(self) -> int:
        """Waits for the next message, as long as the sender lives, and returns its kind (HANDLE, …)."""
        while True:
            _library.call("ckpt_receiver_next", self._pointer, _STEP_MS, ctypes.byref(self.event))
            kind: int = self.event.kind
            if kind != NONE:
                self.native = bool(self.event.native)
                return kind

    def answer(self, error: Optional[str] = None) -> None:
        """Answers the message: with nothing where it went well, else with what went wrong, which ends the update."""
        _library.call("ckpt_receiver_answer", self._pointer, None if error is None else (error or "failed").encode("utf-8", "replace"))

    def close(self) -> None:
        """Ends the session, whatever its state. Idempotent."""
        pointer, self._pointer = self._pointer, ctypes.c_void_p()
        _library.library().ckpt_receiver_close(pointer)

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def placements(self) -> List[Placement]:
        """The tensors of a BUCKET event, in the sender's order."""
        event = self.event
        if event.num_tensors == 0:
            return []
        tensors = ctypes.string_at(event.tensors, event.num_tensors * _PLACED_TENSOR.size)
        shapes = event.shapes[: event.num_shapes] if event.num_shapes else []
        names = ctypes.string_at(event.names, event.names_bytes).split(b"\0")
        placed: List[Placement] = []
        at = 0
        for name, (offset_bytes, _, dtype, num_dimensions) in zip(names, _PLACED_TENSOR.iter_unpack(tensors)):
            placed.append((name.decode(), dtype, tuple(shapes[at : at + num_dimensions]), offset_bytes))
            at += num_dimensions
        return placed

    def cuda_handle(self) -> bytes:
        """Of a HANDLE event: `storage_handle` of torch's rebuild_cuda_tensor. Empty for host memory."""
        return ctypes.string_at(self.event.cuda_ipc_handle, self.event.cuda_ipc_handle_bytes) if self.event.cuda_ipc_handle else b""
