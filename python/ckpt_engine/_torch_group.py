"""torch.distributed's default group, for scripts that expect `init_process_group` to make it: they call
torch.distributed.barrier() next.

Made only where torch is imported, has no group yet, and the launcher's environment says where to meet.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

_MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def make(seconds: float) -> bool:
    """Whether a group was made here. A collective call where it was."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or distributed.is_initialized():
        return False
    if not all(name in os.environ for name in _MEETING):
        return False
    has_cuda = sys.modules["torch"].cuda.is_available()
    distributed.init_process_group(
        backend="cpu:gloo,cuda:nccl" if has_cuda else "gloo", timeout=timedelta(seconds=seconds)
    )
    return True


def end() -> None:
    """Ends a group that `make` made, if it is still there."""
    distributed = sys.modules["torch"].distributed
    if distributed.is_initialized():
        distributed.destroy_process_group()
