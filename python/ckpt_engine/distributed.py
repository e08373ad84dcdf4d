"""The group of ranks, under the names of torch.distributed that scripts use. It is that of the ParameterServer made
last in this process.

Tensors travel by the server's own updates alone: what moves tensors or objects between scripts (`all_reduce`,
`broadcast`, `all_gather_object`, `new_group`) raises UnsupportedError; torch.distributed is there for them.
"""

from __future__ import annotations

import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any, List, Optional

from . import errors

if TYPE_CHECKING:
    from .ps import ParameterServer

__all__ = [
    "Distributed",
    "DistributedProcessGroup",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "destroy_process_group",
    "init_process_group",
    "is_initialized",
    "new_group",
    "use_backend",
]

_server: Optional[weakref.ReferenceType[ParameterServer]] = None

TEN_MINUTES = timedelta(minutes=10)


class Distributed:
    """Base of the back ends that `use_backend` chose from elsewhere. There is one here, and nothing to choose."""


class DistributedProcessGroup:
    """A part of the ranks. None are made: see `new_group`."""


def follow(server: ParameterServer) -> None:
    """Makes `server`'s group the one of this module."""
    global _server
    _server = weakref.ref(server)


def _current() -> ParameterServer:
    server = _server() if _server is not None else None
    if server is None:
        raise errors.FailedPreconditionError("this process has no ParameterServer", advice="make one first")
    return server


def use_backend(backend: Optional[str]) -> None:
    """None and "" are well. Names of other back ends raise UnsupportedError: which transport is used follows from the
    devices."""
    if backend:
        raise errors.UnsupportedError(
            f"there is no back end {backend} to choose",
            advice="leave it out: NCCL is used between GPUs, UCX between hosts' memory",
        )


def init_process_group(
    rank: Optional[int] = None,
    world_size: Optional[int] = None,
    store: Any = None,
    *,
    timeout: timedelta = TEN_MINUTES,
    **_: Any,
) -> None:
    """Joins the group, as ParameterServer.init_process_group does. The server knows rank, world size and store already.
    A collective call."""
    _current().init_process_group(timeout=timeout)


def is_initialized() -> bool:
    """Whether this process has joined the group."""
    server = _server() if _server is not None else None
    return server is not None and server.joined


def destroy_process_group(group: Optional[DistributedProcessGroup] = None) -> None:
    """As ParameterServer.leave_process_group."""
    _current().leave_process_group()


def barrier(group: Optional[DistributedProcessGroup] = None, *, timeout: timedelta = TEN_MINUTES, **_: Any) -> None:
    """Returns when every rank has called it. Raises DeadlineExceededError naming the ranks that did not come,
    UnavailableError naming one that died."""
    _current().store_based_barrier(timeout)


def new_group(ranks: List[int], **_: Any) -> Optional[DistributedProcessGroup]:
    """Raises UnsupportedError."""
    raise _not_here("new_group")


def all_gather_object(object_list: List[Any], obj: Any, group: Optional[DistributedProcessGroup] = None) -> None:
    """Raises UnsupportedError."""
    raise _not_here("all_gather_object")


def all_reduce(tensor: Any, op: Any = None, group: Optional[DistributedProcessGroup] = None, **_: Any) -> None:
    """Raises UnsupportedError."""
    raise _not_here("all_reduce")


def broadcast(tensor: Any, src: int = 0, group: Optional[DistributedProcessGroup] = None, **_: Any) -> None:
    """Raises UnsupportedError."""
    raise _not_here("broadcast")


def _not_here(what: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"{what} is not offered", advice="use torch.distributed for a script's own tensors and objects"
    )
