"""``POST /update_weights_from_ckpt_engine {"model_path", "load_format"}``: the server asks for weights, at port 33001, and takes what a sender brings.

Further keys, all optional: ``port`` (in the place of 33001, and no other), ``timeout`` (seconds until a sender must have come; 600), ``weight_version`` (else the
sender's), ``flush_cache`` (true). Replies as ``/update_weights_from_ipc``, over which it goes. Imports SGLang: loaded by it alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Dict, Tuple

from fastapi import Body, Request
from fastapi.responses import JSONResponse
from sglang.srt.entrypoints import http_server
from sglang.srt.managers.io_struct import UpdateWeightsFromIPCReqInput

from .._door import Door, UpdateCall, answer
from .._filling import door_at

_PATH = "/update_weights_from_ckpt_engine"
_PATIENCE_S = 600.0
_waiting = threading.Lock()  # one request waits for a sender


def add_route() -> None:
    """To SGLang's application. Harmless when repeated."""
    if any(getattr(route, "path", "") == _PATH for route in http_server.app.routes):
        return
    handler = update_weights_from_ckpt_engine
    if hasattr(http_server, "auth_level"):  # whoever may update otherwise may do so here
        handler = http_server.auth_level(http_server.AuthLevel.ADMIN_OPTIONAL)(handler)
    http_server.app.post(_PATH)(handler)


async def update_weights_from_ckpt_engine(request: Request, body: Dict[str, Any] = Body(...)) -> Any:
    """Requests go on until the sender has come."""
    if not isinstance(body.get("model_path"), str) or body.get("load_format") not in (None, "ckpt_engine"):
        return _reply(False, 'give {"model_path": "…", "load_format": "ckpt_engine"}')
    if not _waiting.acquire(blocking=False):
        return _reply(False, "another request is waiting for a sender")
    try:
        port = body.get("port")
        with door_at(None if port is None else int(port), "sglang") as door:
            success, message = await _take_update(request, body, door)
    except (OSError, ValueError) as error:
        return _reply(False, f"no sender can be waited for: {error}")
    finally:
        _waiting.release()
    return _reply(success, message)


async def _take_update(request: Request, body: Dict[str, Any], door: Door) -> Tuple[bool, str]:
    end, gone = time.monotonic() + float(body.get("timeout", _PATIENCE_S)), threading.Event()
    waiting = asyncio.ensure_future(asyncio.to_thread(door.next_call, lambda: gone.is_set() or time.monotonic() > end))
    try:
        while not waiting.done():
            await asyncio.wait([waiting], timeout=1.0)
            if await request.is_disconnected():
                gone.set()
    finally:
        gone.set()
    call = await waiting
    if call is None:
        return False, f"no sender came to {door.url}"
    return await _update(request, body, call)


async def _update(request: Request, body: Dict[str, Any], call: UpdateCall) -> Tuple[bool, str]:
    manager = http_server.get_global_state().tokenizer_manager
    version = body.get("weight_version", call.weight_version)
    ours = UpdateWeightsFromIPCReqInput(zmq_handles=call.addresses, flush_cache=bool(body.get("flush_cache", True)), weight_version=version)
    success, message = False, "the server gave up"
    try:
        success, message = await manager.update_weights_from_ipc(ours, request)
    finally:
        error = None if success else message
        await asyncio.to_thread(call.reply, [answer(address, error, "new" if success else "torn") for address in call.addresses.values()])
    if success:
        if getattr(manager, "initial_weights_loaded", None) is False:
            manager.initial_weights_loaded = True
        if body["model_path"] and hasattr(manager, "_update_model_path_info"):
            manager._update_model_path_info(body["model_path"], "ckpt_engine")  # as /update_weights_from_disk does
    return success, message


def _reply(success: bool, message: str) -> JSONResponse:
    return JSONResponse({"success": success, "message": message}, status_code=200 if success else 400)
