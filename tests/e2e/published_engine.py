"""An engine's HTTP door around the real worker of a published checkpoint-engine. Usage: published_engine.py PACKAGE_DIR vllm|sglang PORT_FILE [PORT]

`checkpoint_engine/worker.py` is the file of the package, as it is; torch is a stand-in (support/torch_standin), since there is no GPU: the 64 bytes of
the handle are the path of a file. What an engine does around the worker is here: the door as vLLM's or SGLang's, and a model that keeps what it loads.
gpu_engine.py has workers in processes of their own.

POST /control {"fail_in_load": n, "fail_in_hook": bool, "load_seconds": s, "come_after_seconds": s, "sessions": n, "fail_in_draft": bool}
               for the next update; with 2 sessions and more the worker comes again, as SGLang's for a draft model
GET  /model    what the last update loaded, and whether a worker waits
"""

import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent.parent / "support"
sys.path[:0] = [str(SUPPORT / "torch_standin"), str(SUPPORT)]

import zmq  # noqa: E402
from published_package import import_worker  # noqa: E402


class Model:
    """What one worker has: `key` is its GPU's."""

    def __init__(self, key: str = "GPU-standin"):
        self.key = key
        self.lock = threading.Lock()
        self.control, self.tensors, self.draft, self.loads, self.hooks, self.workers, self.error = {}, {}, {}, 0, 0, 0, ""

    def load_weights(self, weights):
        self.loads += 1
        time.sleep(self.control.get("load_seconds", 0))
        if self.control.get("fail_in_load") == self.loads:
            raise ValueError(f"weight {weights[0][0]} does not fit")
        self.keep(weights, self.tensors)

    def load_draft(self, weights):
        if self.control.get("fail_in_draft"):
            raise ValueError(f"draft weight {weights[0][0]} does not fit")
        self.keep(weights, self.draft)

    @staticmethod
    def keep(weights, into: dict):
        for name, tensor in weights:
            into[name] = [tensor.dtype.name, list(tensor.shape), hashlib.sha256(tensor.data).hexdigest()]

    def hook(self):
        if self.control.get("fail_in_hook"):
            raise RuntimeError("the hook failed")
        self.hooks += 1

    def update(self, worker, addresses: dict):
        self.tensors, self.draft, self.loads, self.hooks, self.error = {}, {}, 0, 0, ""
        time.sleep(self.control.get("come_after_seconds", 0))
        self.workers += 1
        try:
            self.session(worker, addresses, self.load_weights)
            for _ in range(self.control.get("sessions", 1) - 1):
                self.session(worker, addresses, self.load_draft)
        except BaseException as error:
            self.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.control = {}
            self.workers -= 1

    def session(self, worker, addresses: dict, load):
        context = zmq.Context()  # one each, as in SGLang
        try:
            worker.update_weights_from_ipc(context, addresses[self.key], device_id=0, run=load, post_hook=self.hook)
        finally:
            context.destroy(linger=1000)


def door(kind: str, worker, model: Model):
    class Door(BaseHTTPRequestHandler):
        def answer(self, status: int, body) -> None:
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self):  # noqa: N802
            shown = {name: getattr(model, name) for name in ("tensors", "draft", "hooks", "workers", "error")}
            known = {"/health": {}, "/ping": {}, "/model": shown}
            known["/version" if kind == "vllm" else "/model_info"] = {"version": "0.11"}
            self.answer(*((200, known[self.path]) if self.path in known else (404, {"detail": "Not Found"})))

        def do_POST(self):  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            if self.path not in ("/control", "/collective_rpc", "/update_weights_from_ipc"):
                return self.answer(404, {"detail": "Not Found"})
            if self.path == "/control":
                model.control = body
                return self.answer(200, {})
            addresses = body["args"][0] if kind == "vllm" else body["zmq_handles"]
            with model.lock:
                try:
                    model.update(worker, addresses)
                except Exception as error:  # noqa: BLE001
                    failure = (500, "Internal Server Error") if kind == "vllm" else (400, {"success": False, "message": f"IPC weight update failed: {error}"})
                    return self.answer(*failure)
            return self.answer(200, {"results": [None]} if kind == "vllm" else {"success": True, "message": "IPC weight update completed successfully."})

        def log_message(self, *_):
            pass

    return Door


def serve(handler, port_file: Path, port: int = 0):
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    port_file.with_suffix(".new").write_text(str(server.server_port))
    port_file.with_suffix(".new").rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    serve(door(sys.argv[2], import_worker(Path(sys.argv[1])), Model()), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
