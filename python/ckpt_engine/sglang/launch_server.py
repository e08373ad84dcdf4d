"""``python -m ckpt_engine.sglang.launch_server …``: an unmodified SGLang with the load format, the urls and the route of this package.

The arguments are those of ``sglang.launch_server``, and ``--wait-for-initial-weights``: the server is ready when the first update has succeeded.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any, List

from .plug_in import register_here, run_scheduler

_OLD_FLAG = "--wait-for-initial-weights"
_FIELD = "checkpoint_engine_wait_weights_before_ready"
_WITHOUT_END_S = 10**9


def main(arguments: List[str]) -> None:
    """Returns when the server has ended."""
    waits = _OLD_FLAG in arguments or _flag() in arguments
    if waits:  # else SGLang serves what it has after 120 s: made-up weights
        os.environ.setdefault("SGLANG_WAIT_WEIGHTS_READY_TIMEOUT", str(_WITHOUT_END_S))
    register_here()
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    server_args = prepare_server_args(todays_arguments(arguments))
    try:
        _run(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


def todays_arguments(arguments: List[str]) -> List[str]:
    """As today's SGLang spells them. Raises SystemExit where it has no such flag."""
    from sglang.srt.server_args import ServerArgs

    if _OLD_FLAG in arguments and _FIELD not in getattr(ServerArgs, "__dataclass_fields__", {}):
        raise SystemExit(f"this SGLang cannot wait for initial weights: it has no {_flag()}")
    return [_flag() if argument == _OLD_FLAG else argument for argument in arguments]


def _flag() -> str:
    return "--" + _FIELD.replace("_", "-")


def _run(server_args: Any) -> None:
    """SGLang's schedulers are spawned: what was added here is added there by `run_scheduler`. Other servers than the HTTP one are left to SGLang, whose
    plug-in mechanism adds it."""
    from sglang.launch_server import run_server
    from sglang.srt.entrypoints import http_server

    special = any(getattr(server_args, name, False) for name in ("encoder_only", "smg_grpc_mode", "grpc_mode", "use_ray"))
    if not special and "run_scheduler_process_func" in inspect.signature(http_server.launch_server).parameters:
        http_server.launch_server(server_args, run_scheduler_process_func=run_scheduler)
    else:
        run_server(server_args)


if __name__ == "__main__":
    main(sys.argv[1:])
