"""An engine that starts empty, or asks for weights: its first rank opens a door, and all its ranks take what a sender brings.

::

    with Filling(group, open_door) as filling:                  in all ranks
        while True:
            addresses = filling.next_update()                   a sender has come
            said = … the rank's update from its address …
            if filling.tell(said): break                        all ranks know what each of them says, and so does the sender
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type

from ._door import Door, UpdateCall, answer

_log = logging.getLogger("ckpt_engine.filling")
DEFAULT_PORT = 33001
_MOST_PORTS = 64


class Filling:
    """``group``: vLLM's or SGLang's coordinator of all the engine's ranks; None where there is one. ``open_door``: called in the first rank."""

    def __init__(self, group: Any, open_door: Callable[[], Door]) -> None:
        self._group = group if group is not None and group.world_size > 1 else None
        self._first = self._group is None or self._group.rank_in_group == 0
        self._open_door = open_door
        self._door: Optional[Door] = None
        self._call: Optional[UpdateCall] = None

    def __enter__(self) -> Filling:
        if self._first:
            self._door = self._open_door().__enter__()
            _log.warning("waiting for weights at %s", self._door.url)  # a warning: what an engine waits for is to be seen
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if self._call is not None:
            self._call.reply([answer("", f"the engine gave up: {error}", "torn")])
        if self._door is not None:
            self._door.__exit__(kind, error, trace)

    def next_update(self) -> Dict[str, str]:
        """Waits without end: an engine without weights is of no use. Device key → address, of all ranks."""
        if self._door is not None:
            self._call = self._door.next_call()
        addresses: Dict[str, str] = self._call.addresses if self._call is not None else {}
        return addresses if self._group is None else self._group.broadcast_object(addresses if self._first else None, src=0)

    def tell(self, said: Dict[str, Any]) -> bool:
        """`said`: this rank's answer. Whether all ranks have new weights."""
        answers: List[Dict[str, Any]] = [said]
        if self._group is not None:
            from torch.distributed import all_gather_object

            answers = [{} for _ in range(self._group.world_size)]
            all_gather_object(answers, said, group=self._group.cpu_group)
        if self._call is not None:
            call, self._call = self._call, None
            call.reply(answers)
        return all(one["ckpt_engine"]["weights"] == "new" for one in answers)


def door_at(port: Optional[int], engine: str, first: int = DEFAULT_PORT) -> Door:
    """The door at `port`; where that is None, at the first port from `first` on that is free. Raises OSError."""
    if port is not None:
        return Door(port, engine)
    for candidate in range(first, first + _MOST_PORTS):
        try:
            return Door(candidate, engine)
        except OSError as error:
            refused = error
    raise refused
