"""An HTTP door that a sender takes for a vLLM or an SGLang that can be updated: what an engine has before it has an API server, or beside it."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from ._version import __version__

_MAX_BODY_BYTES = 1 << 20
_SETTLE_SECONDS = 5.0  # for what a sender says after the update, up to POST /resume
_REPLY_SECONDS = 5.0  # for a reply to be sent


def answer(session: str, error: Optional[str], weights: str) -> Dict[str, Any]:
    """What a worker says of an update: the address of its session, what went wrong, and whether its weights are ``old``, ``new`` or ``torn``."""
    return {"ckpt_engine": {"session": session, "error": error, "weights": weights}}


class UpdateCall:
    """One ``POST /collective_rpc`` (vLLM's) or ``/update_weights_from_ipc`` (SGLang's), until ``reply``. ``addresses``: device key → address, of all
    workers. ``weight_version``: of SGLang's form; None where the sender named none."""

    def __init__(self, addresses: Dict[str, str], weight_version: Optional[str] = None) -> None:
        self.addresses = addresses
        self.weight_version = weight_version
        self.sent = threading.Event()  # the reply is on its way
        self._replied = threading.Event()
        self._results: List[Any] = []

    def reply(self, results: List[Any]) -> None:
        """What each worker says, in rank order. The call's thread sends it: this returns when it has, or a moment later."""
        self._results = results
        self._replied.set()
        self.sent.wait(_REPLY_SECONDS)

    def wait(self) -> List[Any]:
        """Of the call's thread."""
        self._replied.wait()
        return self._results


class Door:
    """On `port` of 127.0.0.1, open between ``with`` and its end, which waits a moment for a sender's last words. One update at a time is taken; others
    wait. Both engines' update calls are understood; ``engine`` (vllm, sglang) is what a sender that looks for itself takes it for."""

    def __init__(self, port: int, engine: str = "vllm") -> None:
        """Raises OSError where the port is not free."""
        self._calls: queue.Queue[UpdateCall] = queue.Queue()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.calls = self._calls
        self._server.engine = engine
        self._server.resumed = threading.Event()
        self._server.resumed.set()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="ckpt-door", daemon=True)

    def next_call(self, give_up: Callable[[], bool] = lambda: False) -> Optional[UpdateCall]:
        """Waits for a sender; a signal of the process ends the wait, and `give_up`, after which there is None."""
        while not give_up():
            try:
                return self._calls.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def __enter__(self) -> Door:
        self._thread.start()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if kind is None:
            self._server.resumed.wait(_SETTLE_SECONDS)
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    calls: queue.Queue[UpdateCall]
    engine: str
    resumed: threading.Event  # no sender has paused us, or one has let us go on


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802  the base class's name
        known: Dict[str, Any] = {"/health": {}, "/ping": {}, "/version": {"version": f"ckpt-engine {__version__}, filling"}}
        if self.server.engine == "sglang":
            known["/model_info"] = {"weight_version": None}
        self._answer(200, known[self.path]) if self.path in known else self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:  # noqa: N802
        path = self.path.partition("?")[0]
        if path in ("/pause", "/resume", "/reset_prefix_cache"):  # there are no requests to be held
            self._answer(200, {"success": True})
            if path == "/pause":
                self.server.resumed.clear()
            if path == "/resume":
                self.server.resumed.set()
            return None
        if path not in ("/collective_rpc", "/update_weights_from_ipc"):
            return self._answer(404, {"detail": "Not Found"})
        sglang = path == "/update_weights_from_ipc"
        try:
            body = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _MAX_BODY_BYTES)))
            addresses = {str(key): str(address) for key, address in (body["zmq_handles"] if sglang else body["args"][0]).items()}
            version = body.get("weight_version") if sglang else None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            return self._answer(400, {"detail": f"not an update call: {error}"})
        call = UpdateCall(addresses, None if version is None else str(version))
        self.server.calls.put(call)
        status, reply = _sglang_reply(call.wait()) if sglang else (200, {"results": call.wait()})
        try:
            self._answer(status, reply)
        finally:
            call.sent.set()

    def _answer(self, status: int, reply: Any) -> None:
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Nothing: the engine's log is not ours."""


def _sglang_reply(results: List[Any]) -> Tuple[int, Dict[str, Any]]:
    errors = [str(result["ckpt_engine"]["error"]) for result in results if result["ckpt_engine"]["error"]]
    return (400, {"success": False, "message": "; ".join(errors)}) if errors else (200, {"success": True, "message": "weights updated"})
