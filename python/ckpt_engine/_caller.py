"""The thread that makes the engines' update call while the update goes on: one, kept from update to update."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any, Callable, List, Optional, Tuple

from . import errors

RequestFunction = Callable[[List[Tuple[str, str]]], Any]
_Work = Callable[[], None]


class Caller:
    """Runs one piece of work at a time, in a thread that does not keep the process from ending. A thread whose work
    never returns is left to itself."""

    def __init__(self) -> None:
        self._work: Optional[queue.SimpleQueue[Optional[_Work]]] = None
        self._idle = threading.Event()

    def start(self, work: _Work) -> None:
        """Returns at once. `work` catches what it raises."""
        if self._work is None or not self._idle.is_set():
            self.close()
            self._work, self._idle = queue.SimpleQueue(), threading.Event()
            threading.Thread(target=_serve, args=(self._work, self._idle), name="ckpt-engine-call", daemon=True).start()
        self._idle.clear()
        self._work.put(work)

    def close(self) -> None:
        """The thread ends, after the work that it has begun."""
        if self._work is not None:
            self._work.put(None)


def _serve(work: queue.SimpleQueue[Optional[_Work]], idle: threading.Event) -> None:
    while True:
        piece = work.get()
        if piece is None:
            return
        piece()
        del piece  # with what it holds of the update
        idle.set()


class EnginesCall:
    """One update's call of req_func."""

    def __init__(self, caller: Caller, req_func: RequestFunction) -> None:
        self._caller = caller
        self._req_func = req_func
        self._returned = threading.Event()
        self._returned.set()
        self.raised: Optional[BaseException] = None

    def start(self, addresses: str, say: Callable[[Optional[str]], None]) -> None:
        pairs: List[Tuple[str, str]] = [(key, address) for key, address in json.loads(addresses)]
        self._returned.clear()
        self._caller.start(lambda: self._make(pairs, say))

    def _make(self, pairs: List[Tuple[str, str]], say: Callable[[Optional[str]], None]) -> None:
        failed = None
        try:
            self._req_func(pairs)
        except BaseException as error:  # of the script's own kind: it ends the update, which says so
            self.raised = error
            failed = str(error) if isinstance(error, errors.CkptError) else f"{type(error).__name__}: {error}"
        say(failed)
        self._returned.set()

    def wait(self, seconds: float) -> None:
        """Until the call has returned; returns at once where none was made."""
        self._returned.wait(seconds)
