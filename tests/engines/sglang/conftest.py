"""Starts ranks of filled_engine.py in build/vllm, the environment of the vLLM tests, with SGLang's sources of build/sglang/site."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
PYTHON = REPOSITORY / "build/vllm/bin/python"
MODELS = REPOSITORY / "build/vllm/models"
SITE = REPOSITORY / "build/sglang/site"
SECONDS = 300
sys.path[:0] = [str(REPOSITORY / "tests/support"), str(REPOSITORY / "tests/engines/vllm")]


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Rank:
    """A process that tells what it does in lines of JSON."""

    def __init__(self, log: Path, *arguments: object):
        self.log = log
        environment = os.environ | {"PYTHONPATH": f"{HERE}", "OMP_NUM_THREADS": "1"}
        with log.open("w") as errors:
            self.process = subprocess.Popen([PYTHON, HERE / "filled_engine.py", *map(str, arguments)], env=environment, text=True, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        self._lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def told(self) -> dict:
        said = self._lines.get(timeout=SECONDS)
        assert said is not None, self.log.read_text()[-3000:]
        return said

    def differing(self, checkpoint: Path) -> list:
        self.process.stdin.write(f"{checkpoint}\n")
        self.process.stdin.flush()
        return self.told()["differing"]


class Engine:
    """`num_ranks` ranks. `theirs`: without our plug-in."""

    def __init__(self, path: Path, model: str, num_ranks: int, theirs: bool = False):
        group, self.door_port, http = free_ports(3)
        self.url, self.door_url, self.num_ranks = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{self.door_port}", num_ranks
        kind = "theirs" if theirs else "ours"
        self.ranks = [Rank(path / f"rank-{rank}.log", rank, num_ranks, group, MODELS / model / "v1", self.door_port, http if num_ranks == 1 else 0, kind)
                      for rank in range(num_ranks)]

    def wait_ready(self):
        for rank in self.ranks:
            assert rank.told() == {"ready": True}

    def differing(self, checkpoint: Path) -> list:
        return [rank.differing(checkpoint) for rank in self.ranks]

    def answers(self) -> bool:
        """Whether a request is served; else it is held."""
        try:
            return self.call("GET", "/test_ask", seconds=2)[0] == 200
        except TimeoutError:
            return False

    def call(self, method: str, path: str, body=None, seconds: float = SECONDS) -> tuple:
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"},
                                         method=method)
        for _ in range(100):  # its thread may not listen yet
            try:
                with urllib.request.urlopen(request, timeout=seconds) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
            except urllib.error.URLError:
                time.sleep(0.1)
        raise AssertionError(f"nobody listens at {request.full_url}")

    def send(self, checkpoint: Path, *options: str, url: str = "") -> subprocess.CompletedProcess:
        """`ckpt-engine update` into it, from host memory."""
        command = [os.environ["CKPT_ENGINE_BINARY"], "update", "--engine", "sglang", "--device", "host", "--endpoint", url or self.url, "--checkpoint-path", str(checkpoint),
                   "--nproc-per-node", str(self.num_ranks), "--inference-parallel-size", str(self.num_ranks), "--timeout", "240s", "--ready-timeout", "240s",
                   "--bucket-size", "1MiB", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    def close(self):
        for rank in self.ranks:
            rank.process.kill()
            rank.process.wait()


@pytest.fixture
def start(tmp_path):
    """Makes engines, and ends them."""
    if not (REPOSITORY / "build/sglang/installed").exists():
        pytest.skip("build/sglang is not here: tests/engines/sglang/setup makes it")
    made = []

    def engine(*arguments, **named) -> Engine:
        made.append(Engine(tmp_path, *arguments, **named))
        return made[-1]

    yield engine
    for one in made:
        one.close()
