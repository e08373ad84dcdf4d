"""The sender's side of the vLLM tests: `ckpt-engine update`, clients that ask meanwhile, and checkpoints with something wrong."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from asking import AskingThread

UPDATE_SECONDS = 120


def command(server, checkpoint: Path, *options: str, url: str = "", seconds: int = 60) -> list:
    return [os.environ["CKPT_ENGINE_BINARY"], "update", "--engine", "vllm", "--device", "host", "--endpoint", url or server.url, "--checkpoint-path",
            str(checkpoint), "--nproc-per-node", str(server.tp), "--inference-parallel-size", str(server.tp), "--timeout", f"{seconds}s", "--ready-timeout",
            f"{seconds}s", *options]


def update(server, checkpoint: Path, *options: str) -> subprocess.CompletedProcess:
    """Its stdout and stderr are texts."""
    return subprocess.run(command(server, checkpoint, *options), capture_output=True, text=True, timeout=UPDATE_SECONDS, check=False)


def kill_sender_in_the_middle(server, checkpoint: Path) -> None:
    """Returns when the workers are free again. The server is left paused: the sender, which would let it go on, is gone."""
    server.rpc("test_slow_loads", 0.5)
    sender = subprocess.Popen(command(server, checkpoint, "--bucket-size", "1MiB"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 30
    while not server.call("GET", "/is_paused")[1]["is_paused"] and time.monotonic() < deadline:
        assert sender.poll() is None, "it ended before it could be killed"
    time.sleep(0.5)  # some buckets later
    os.killpg(sender.pid, signal.SIGKILL)
    sender.wait()
    assert [facts["meta"] for facts in server.rpc("test_facts")] == [0] * server.tp  # answered between two steps: no worker is in an update
    server.rpc("test_slow_loads", 0)


class Client(AskingThread):
    """Asks for completions. What it was answered is in `answers`, what went wrong in `errors`."""

    expected = (OSError, AssertionError)

    def __init__(self, server):
        super().__init__()
        self._server, self.answers, self.errors = server, [], []

    def ask_once(self):
        self.answers.append(self._server.complete([10, 20, 30], 16))

    def gave_up(self, error):
        self.errors.append(f"{type(error).__name__}: {error}")


def without(checkpoint: Path, name: str, folder: Path) -> Path:
    """A copy of the checkpoint that does not have the tensor: neither in the index nor in a file. A whole checkpoint in itself."""
    shutil.copytree(checkpoint, folder)
    index_path = folder / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    file = folder / index["weight_map"].pop(name)
    index_path.write_text(json.dumps(index))
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    body = data[8 + int.from_bytes(data[:8], "little") :]
    begin, end = header.pop(name)["data_offsets"]
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + body[:begin] + body[end:])
    return folder


def renamed(checkpoint: Path, name: str, new_name: str, folder: Path) -> Path:
    """A copy in which a tensor has another name of the same length."""
    assert len(name) == len(new_name)
    shutil.copytree(checkpoint, folder)
    for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        file.write_bytes(file.read_bytes().replace(b'"' + name.encode() + b'"', b'"' + new_name.encode() + b'"'))
    return folder


def cut(checkpoint: Path, folder: Path) -> Path:
    """A copy of which the largest file lacks its end."""
    shutil.copytree(checkpoint, folder)
    file = max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    os.truncate(file, file.stat().st_size - 1000)
    return folder


class NativeRoutes(ThreadingHTTPServer):
    """A door before a vLLM that a sender takes for it: the update call becomes vLLM's own weight-transfer routes, everything else is passed on."""

    def __init__(self, server):
        super().__init__(("127.0.0.1", 0), _NativeDoor)
        self.daemon_threads, self.behind, self.told = True, server, []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def tp(self) -> int:
        return self.behind.tp

    def update_call(self, addresses: dict) -> tuple:
        for path, body in (("/start_weight_update", None), ("/update_weights", {"update_info": {"zmq_handles": addresses}}),
                           ("/finish_weight_update", {"weight_version": "native"})):
            self.told.append(path)
            status, reply = self.behind.call("POST", path, body)
            if status != 200:
                return status, {"detail": reply["error"]["message"]}
        return 200, {"results": []}


class _NativeDoor(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        self.answer(*self.server.behind.call("GET", self.path))

    def do_POST(self):  # noqa: N802
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(text) if text else None
        self.answer(*(self.server.update_call(body["args"][0]) if self.path == "/collective_rpc" else self.server.behind.call("POST", self.path, body)))

    def answer(self, status: int, reply) -> None:
        text = b"" if reply is None else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # a sender that has given up
            self.wfile.write(text)

    def log_message(self, *_):
        pass
