"""Waits for an operation of the library, so that Ctrl-C works at any moment: no call lasts longer than a tenth of a
second."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_char_p, c_uint64, c_void_p
from typing import Any, Callable, Optional

from ._library import CALL_ENGINES, DONE, call, exception_of, library, text

POLL_MS = 100
#: What is told while it waits: stage, bytes done, bytes in all.
Progress = Callable[[str, int, int], None]
#: Given the addresses as JSON, and how to say once how the engines' call went (None: well, else why not), from any
#: thread.
CallEngines = Callable[[str, Callable[[Optional[str]], None]], None]


def run(
    name: str, *arguments: Any, progress: Optional[Progress] = None, call_engines: Optional[CallEngines] = None
) -> str:
    """Starts an operation by the function `name`, whose last two parameters (operation and error) are left out here;
    waits for its end.

    Returns the operation's text, or raises what it reports. KeyboardInterrupt, and what `progress` or `call_engines`
    raise, cancel it; they are raised when it has ended, so that nothing of the caller's is in use any more.
    """
    loaded = library()
    operation = c_void_p()
    replies = _Replies(loaded, operation)
    try:
        call(name, *arguments, ctypes.byref(operation))
        try:
            _wait(loaded, operation, progress, call_engines, replies)
        except BaseException as raised:
            loaded.ckpt_operation_cancel(operation, f"{type(raised).__name__} in the caller".encode())
            raise
        result, error = c_char_p(), c_void_p()
        code = loaded.ckpt_operation_result(operation, ctypes.byref(result), ctypes.byref(error))
        if code != 0:
            raise exception_of(loaded, code, error)
        return text(result.value)
    finally:
        replies.close()
        if operation:
            loaded.ckpt_operation_free(operation)  # one that still runs is cancelled, and waited for


def _wait(
    loaded: ctypes.CDLL,
    operation: c_void_p,
    progress: Optional[Progress],
    call_engines: Optional[CallEngines],
    replies: _Replies,
) -> None:
    stage, done, total = c_char_p(), c_uint64(), c_uint64()
    said = None
    while True:
        state = loaded.ckpt_operation_wait(operation, POLL_MS)
        if progress is not None:
            loaded.ckpt_operation_progress(operation, ctypes.byref(stage), ctypes.byref(done), ctypes.byref(total))
            now = (text(stage.value), done.value, total.value)
            if now != said and now[0]:
                said = now
                progress(*now)
        if state == CALL_ENGINES and call_engines is not None:
            call_engines(text(loaded.ckpt_operation_addresses(operation)), replies.say)
        elif state == DONE:
            return


class _Replies:
    """Hands the engines' reply to the operation, as long as there is one: the thread that made the call may come
    later."""

    def __init__(self, loaded: ctypes.CDLL, operation: c_void_p) -> None:
        self._lock = threading.Lock()
        self._loaded = loaded
        self._operation: Optional[c_void_p] = operation

    def say(self, error: Optional[str]) -> None:
        with self._lock:
            if self._operation is not None:
                self._loaded.ckpt_operation_engines_replied(
                    self._operation, None if error is None else error.encode("utf-8", "replace")
                )

    def close(self) -> None:
        with self._lock:
            self._operation = None
