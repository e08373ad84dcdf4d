"""What both benchmarks of this folder need: checkpoints that vLLM serves, a real vLLM on the CPU, and a client that notes when its tokens come.

Needs `tests/engines/vllm/setup`, whose Python runs this, and a build. All times are seconds of the wall clock (time.time), which traces have too.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "engines" / "vllm"), str(ROOT / "python")]

from asking import AskingThread  # noqa: E402
from vllm_server import free_port  # noqa: E402

START_SECONDS, STOP_SECONDS = 600, 30
TOKENS = 32  # of a streamed completion: of one under way the engine computes so many anew at most when its weights have changed


def make_checkpoint(build: Path, folder: Path, size: str, seed: int) -> Path:
    """Made-up weights of a Qwen3 model, all of BF16, and a tokenizer with one token a word: vLLM does not stream without one."""
    options = ["--shape", "qwen3-0.6b", "--max-bytes", size, "--seed", str(seed), "--out", str(folder)]
    subprocess.run([build / "bin" / "ckpt-engine", "make-checkpoint", *options], check=True, stdout=subprocess.DEVNULL)
    for file in folder.glob("*.safetensors"):  # 2^-7 to 2^-6: with what make-checkpoint writes, products are denormal, which processors are slow with
        begin = 8 + int.from_bytes(file.open("rb").read(8), "little")
        values = numpy.memmap(file, numpy.uint16, "r+", begin)
        numpy.bitwise_and(values, 0x807F, out=values)
        numpy.bitwise_or(values, 0x3C00, out=values)
        values.flush()
    words = {"<unk>": 0, **{f"w{number}": number for number in range(1, json.loads((folder / "config.json").read_text())["vocab_size"])}}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
                 "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}')
    return folder


def forget_cached(folder: Path) -> None:
    """The page cache lets the folder's files go: the next read is from the disk."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Vllm:
    """A server of `model`, with what `vllm serve` is given beside. Owns its processes. `log` has what it prints."""

    def __init__(self, build: Path, model: Path, log: Path, options=(), environment=()):
        self.port, self.log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
        given = {**os.environ, "CKPT_LIBRARY": str(build / "lib" / "libckpt.so"), "PYTHONPATH": path, **dict(environment)}
        self.started = time.time()
        with open(log, "wb") as out:
            self._process = subprocess.Popen([ROOT / "tests" / "engines" / "vllm" / "serve", model, str(self.port), "1", *options], stdout=out, stderr=out,
                                             env=given, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, signum)
                self._process.wait(STOP_SECONDS)

    def wait_ready(self) -> float:
        """When it was."""
        while time.time() < self.started + START_SECONDS:
            if self._process.poll() is not None:
                raise RuntimeError(f"vLLM ended while it started:\n{self.log.read_text()[-4000:]}")
            with contextlib.suppress(OSError):
                if self.call("GET", "/health")[0] == 200:
                    return time.time()
            time.sleep(0.02)
        raise RuntimeError(f"vLLM is not ready after {START_SECONDS} s:\n{self.log.read_text()[-4000:]}")

    def call(self, method: str, path: str, body=None) -> tuple:
        """(status, decoded body)"""
        return call(self.url, method, path, None if body is None else json.dumps(body).encode())[::2]

    def rpc(self, method: str, **arguments):
        """What the worker returns."""
        status, reply = self.call("POST", "/collective_rpc", {"method": method, "kwargs": arguments})
        if status != 200:
            raise RuntimeError(f"{method}: {reply}")
        return reply["results"][0]

    def first_token(self) -> float:
        """When the answer to a request of one token came."""
        status, reply = self.call("POST", "/v1/completions", completion(1))
        if status != 200:
            raise RuntimeError(str(reply))
        return time.time()


def call(url: str, method: str, path: str, body) -> tuple:
    """(status, text, decoded body)"""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        try:
            return reply.status, text, json.loads(text) if text else None
        except ValueError:
            return reply.status, text, text.decode(errors="replace")
    finally:
        connection.close()


def completion(count: int, **more) -> dict:
    return {"model": "model", "prompt": [[5, 6, 7, 8]], "max_tokens": count, "temperature": 0, "ignore_eos": True, "return_token_ids": True, **more}


class StreamingClient(AskingThread):
    """Has one completion after the other streamed; `arrivals`: when each token came, in order."""

    expected = (OSError, http.client.HTTPException, RuntimeError)

    def __init__(self, server: Vllm):
        super().__init__()
        self._server, self.arrivals, self.failed = server, [], None

    def gave_up(self, error):
        self.failed = error

    def ask_once(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=300)
        connection.request("POST", "/v1/completions", json.dumps(completion(TOKENS, stream=True)), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise RuntimeError(reply.read().decode())
        for line in reply:
            if line.startswith(b"data: {"):
                self.arrivals.append(time.time())
            if self.done.is_set():
                break
        connection.close()

    def first_after(self, moment: float, seconds: float = 60) -> float:
        """When the first token came that came after `moment`; waits for it."""
        end = time.time() + seconds
        while time.time() < end and self.failed is None:
            later = [arrival for arrival in self.arrivals[-50:] if arrival > moment]
            if later:
                return later[0]
            time.sleep(0.005)
        raise RuntimeError(f"no token after the update: {self.failed}")
