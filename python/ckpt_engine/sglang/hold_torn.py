"""An engine with torn weights (some old, some new) answers nobody: its server holds requests until an update has mended it. Imports SGLang: loaded by it alone.

SGLang lets requests go on after an update that failed. Here it holds them by its own two means, pause and the lock that an update takes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Awaitable, Callable, Tuple

from .model_update import TORN_TEXT

_log = logging.getLogger("sglang.ckpt_engine")
_MARK = "ckpt_engine"
_HELD, _ONE = "_ckpt_engine_held", "_ckpt_engine_one_at_a_time"


def hold_torn_weights() -> None:
    """In the server's process. Harmless when repeated."""
    from sglang.srt.managers.tokenizer_control_mixin import TokenizerControlMixin

    update = TokenizerControlMixin.update_weights_from_ipc
    if getattr(update, _MARK, False):
        return

    async def update_weights_from_ipc(self: Any, obj: Any, request: Any = None) -> Tuple[bool, str]:
        if not hasattr(self, _ONE):
            setattr(self, _ONE, asyncio.Lock())
        async with getattr(self, _ONE):
            held = getattr(self, _HELD, None)
            if held is None and self.is_pause:  # by somebody who will let it go on, and who is told
                result: Tuple[bool, str] = await update(self, obj, request)
                return result
            return await _held_update(self, lambda: update(self, obj, request), held)

    setattr(update_weights_from_ipc, _MARK, True)
    TokenizerControlMixin.update_weights_from_ipc = update_weights_from_ipc


async def _held_update(manager: Any, update: Callable[[], Awaitable[Tuple[bool, str]]], held: Any) -> Tuple[bool, str]:
    """`held`: the lock, where an update before has left it so."""
    lock = held
    if held is None:
        lock = manager.model_update_lock.writer_lock
        await lock.__aenter__()  # requests under way end first
        setattr(manager, _HELD, lock)
    async with manager.is_pause_cond:
        manager.is_pause = True  # else `update` would wait for the lock
    success, message = False, TORN_TEXT  # what a call that is given up leaves is not known
    before = manager.server_args.weight_version
    manager._update_weight_version_if_provided("")  # while they change, weights have no version
    try:
        success, message = await update()
    finally:
        if success or (held is None and TORN_TEXT not in message):
            if manager.server_args.weight_version == "":  # not changed, or changed without a name: SGLang keeps the one it had
                manager._update_weight_version_if_provided(before)
            await _let_go(manager, lock)
        else:
            _log.error("requests are held until an update has mended the weights: %s", message)
    return success, message


async def _let_go(manager: Any, held: Any) -> None:
    setattr(manager, _HELD, None)
    async with manager.is_pause_cond:
        manager.is_pause = False
        manager.is_pause_cond.notify_all()
    await held.__aexit__(None, None, None)
