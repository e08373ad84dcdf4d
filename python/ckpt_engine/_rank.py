"""This process as a rank: the library's server, one call at a time, and its end."""

from __future__ import annotations

import ctypes
import json
import logging
import threading
import weakref
from ctypes import c_char_p, c_void_p
from datetime import timedelta
from typing import Any, Dict, Mapping, Optional, Union

from . import _library, _operation, errors
from ._caller import Caller

log = logging.getLogger("ckpt_engine")

Timeout = Union[timedelta, float]
_MOST_MS = 2**32 - 1
_FAREWELL_MS = 10_000


class Rank:
    """Owns a ckpt_server, until `close`, its own end, or that of the process. Calls are made inside `with rank:`; a
    second one meanwhile, also from within req_func, is an error rather than a wait for ever."""

    def __init__(
        self, place: Mapping[str, Any], settings: Mapping[str, Any], progress: Optional[_operation.Progress]
    ) -> None:
        self.place = place
        self.joined: Optional[Dict[str, Any]] = None  # what joining told, once it has
        self.caller = Caller()
        self._progress = progress
        self._busy = threading.Lock()
        self._server = c_void_p()
        self.call(
            "ckpt_server_create",
            as_json({key: str(value) for key, value in settings.items()}),
            ctypes.byref(self._server),
            on_server=False,
        )
        self._end = weakref.finalize(self, _end, self._server.value, self.caller)

    def __enter__(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise errors.FailedPreconditionError(
                "another call of this ParameterServer is under way",
                advice="make one call at a time, and none in req_func",
            )
        if not self._server:
            self._busy.release()
            raise errors.FailedPreconditionError("this ParameterServer is closed")

    def __exit__(self, *_: object) -> None:
        self._busy.release()

    def close(self) -> None:
        self._end()
        self._server, self.joined = c_void_p(), None

    def join(self, timeout: Timeout) -> None:
        if self.joined is None:
            self.joined = json.loads(self.run("ckpt_server_join_start", as_json(self.place), timeout=timeout))

    def known(self, key: str) -> Any:
        """What joining told, or was given before."""
        value = (self.joined or self.place).get(key)
        if value is None:
            raise errors.FailedPreconditionError(
                f"{key} is not known before this process has joined the group", advice="call init_process_group() first"
            )
        return value

    def run(
        self, name: str, *arguments: Any, timeout: Timeout, call_engines: Optional[_operation.CallEngines] = None
    ) -> str:
        """An operation of the server's."""
        return _operation.run(
            name, self._server, *arguments, milliseconds(timeout), progress=self._progress, call_engines=call_engines
        )

    def call(self, name: str, *arguments: Any, on_server: bool = True) -> None:
        """A function of the server's that does not wait."""
        _library.call(name, *((self._server,) if on_server else ()), *arguments)

    def metas_json(self, name: str) -> str:
        document = c_char_p()
        self.call("ckpt_server_metas", name.encode(), ctypes.byref(document))
        return _library.text(document.value)


def _end(server: Optional[int], caller: Caller) -> None:
    caller.close()
    try:
        _operation.run("ckpt_server_leave_start", server, _FAREWELL_MS)  # the others may still need this rank's store
    except errors.CkptError as error:
        log.debug("leaving the group: %s", error)
    finally:
        _library.library().ckpt_server_free(server)


def need(holds: bool, otherwise: str) -> None:
    """Raises InvalidArgumentError where something that was given does not hold."""
    if not holds:
        raise errors.InvalidArgumentError(otherwise)


def as_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def milliseconds(timeout: Timeout) -> int:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    need(seconds > 0, f"timeout {timeout}: give a time above 0")
    return min(_MOST_MS, max(1, round(seconds * 1000)))
