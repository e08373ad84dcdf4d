"""The thread that makes the engines' update call while the update goes on: one, kept from update to update."""

from __future__ import annotations

import queue
import threading
from typing import Callable, Optional

_Work = Callable[[], None]


class Caller:
    """Runs one piece of work at a time, in a thread that does not keep the process from ending. A thread whose work never returns is left to itself."""

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
