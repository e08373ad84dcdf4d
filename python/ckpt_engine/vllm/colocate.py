"""What a vLLM worker answers to ``POST /collective_rpc {"method": "update_weights_from_ipc"}``.

vLLM's replies do not say whose call they answer: after an exception in one worker, or a time-out, later calls are given the replies of calls
before them. Hence the answer names the session, and says what went wrong instead of raising it:

    {"ckpt_engine": {"session": "ipc:///…", "error": null | text, "weights": "old" | "new" | "torn", "left_held": bool}}

`left_held`: an update before this one ended in a way that left the engine paused, so that a pause which its sender found may be ours to end.
A sender that is not ours looks at the HTTP status alone: for it the error is raised.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, Optional, Type

from .. import _receiver, errors
from .._door import answer
from .model_update import ModelUpdate, is_torn

_log = logging.getLogger("vllm.ckpt_engine")
_LEFT_HELD = "_ckpt_engine_left_held"


def run_update(worker: Any, address: str, raises: bool = True, make_update: Type[ModelUpdate] = ModelUpdate) -> Dict[str, Any]:
    """One update call of a vLLM worker. With `raises`, what went wrong is raised where the sender is known not to be ours; else it is part of the
    answer."""
    from ..worker import device_index, serve

    update = make_update(worker)
    left_held = is_torn(worker) or bool(getattr(worker, _LEFT_HELD, False))
    setattr(worker, _LEFT_HELD, True)  # until there is a sender who knows how it ended
    try:
        with _receiver.Receiver(address) as receiver:
            try:
                serve(receiver, device_index(worker), update.load, update.check, update.commit)
            except Exception as error:
                update.abort()
                if raises and receiver.native is False:
                    raise
                _log.error("update of the weights failed, they are %s now: %s", update.weights, error)
                setattr(worker, _LEFT_HELD, isinstance(error, errors.UnavailableError))
                return _answer(address, f"{type(error).__name__}: {error}", update.weights, left_held)
        setattr(worker, _LEFT_HELD, False)
        return _answer(address, None, update.weights, left_held)
    except BaseException:
        update.abort()
        raise


def _answer(address: str, error: Optional[str], weights: str, left_held: bool) -> Dict[str, Any]:
    said = answer(address, error, weights)
    said["ckpt_engine"]["left_held"] = left_held
    return said


def weights_state(worker: Any) -> Dict[str, str]:
    """Whether an update of ours ended in the middle of the weights."""
    return {"weights": "torn" if is_torn(worker) else "whole"}
