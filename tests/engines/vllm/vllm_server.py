"""A real vLLM server on the CPU, as the tests start, ask and end it, and what its answers are held against."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
VENV = ROOT / "build" / "vllm"
MODELS = VENV / "models"
START_SECONDS, STOP_SECONDS = 400, 30


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class VllmServer:
    """Of `model`, with tensor parallelism `tp`. `log` holds what it prints. Owns its processes and what they leave in /dev/shm.

    With `filled` it starts empty, and waits for an update at `filling_url`.
    """

    def __init__(self, model: str, tp: int, log: Path, environment: dict, filled: bool = False):
        self.url, self.log, self.model, self.tp = f"http://127.0.0.1:{free_port()}", log, model, tp
        self.answers = json.loads((MODELS / model / "answers.json").read_text())
        self._segments = self._shared_memory()
        port = free_port()
        self.filling_url = f"http://127.0.0.1:{port}"
        options = ["--load-format", "ckpt_engine", "--model-loader-extra-config", json.dumps({"port": port})] if filled else []
        with open(log, "wb") as out:  # a session of its own: the engine and its workers end with it
            self._process = subprocess.Popen([HERE / "serve", MODELS / model / "v1", self.url.rpartition(":")[2], str(tp), *options], stdout=out, stderr=out,
                                             env={**os.environ, "WORKER_EXTENSION": "vllm_test_extension.TestExtension", **environment}, start_new_session=True)

    def wait_ready(self, check=lambda: None) -> None:
        """`check` is called meanwhile, and raises where waiting is of no use."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"vLLM ended while it started:\n{self.log.read_text()[-4000:]}"
            check()
            try:
                if self.call("GET", "/health", seconds=5)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"vLLM is not ready after {START_SECONDS} s:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, signum)
                self._process.wait(STOP_SECONDS)
            except ProcessLookupError:
                pass
            except subprocess.TimeoutExpired:
                continue
            if signum == signal.SIGTERM:
                time.sleep(0.5)
        for segment in self._shared_memory() - self._segments:  # with tensor parallelism vLLM leaves them, however it ends
            segment.unlink(missing_ok=True)

    @staticmethod
    def _shared_memory() -> set:
        return set(Path("/dev/shm").glob("vllm_dist_*"))

    def call(self, method: str, path: str, body=None, seconds: float = 60) -> tuple:
        """(status, decoded body); an error status is an answer too. OSError: no answer."""
        data = None if method == "GET" else b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as reply:
                status, text = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text) if text else None
        except json.JSONDecodeError:
            return status, text.decode(errors="replace")

    def rpc(self, name: str, *args, **kwargs) -> list:
        """What the method returned in each worker, in rank order."""
        status, reply = self.call("POST", "/collective_rpc", {"method": name, "args": list(args), "kwargs": kwargs})
        assert status == 200, reply
        return reply["results"]

    def complete(self, prompt: list, count: int, seconds: float = 60) -> dict:
        body = {"model": "model", "prompt": [prompt], "max_tokens": count, "temperature": 0, "logprobs": 1, "return_token_ids": True, "ignore_eos": True}
        status, reply = self.call("POST", "/v1/completions", body, seconds)
        assert status == 200, reply
        choice = reply["choices"][0]
        return {"tokens": choice["token_ids"], "logprobs": choice["logprobs"]["token_logprobs"]}

    def version_served(self) -> str:
        """The version whose stored answers it gives, or what differs from each."""
        prompts = [answer["prompt"] for answer in self.answers["v1"]]
        got = [self.complete(prompt, len(self.answers["v1"][0]["tokens"])) for prompt in prompts]
        differences = {version: difference(got, wanted) for version, wanted in self.answers.items()}
        return next((version for version, text in differences.items() if not text), str(differences))


def difference(got: list, wanted: list, logprob_tolerance: float = 0.01, trusted_distance: float = 0.02) -> str:
    """Empty when the answers are the same, up to the first token where the runner-up is too near to tell."""
    compared = 0
    for answer, want in zip(got, wanted):
        for at, token in enumerate(want["tokens"]):
            if want["distances"][at] < trusted_distance:
                break
            if answer["tokens"][at] != token:
                return f"token {at} is {answer['tokens'][at]}, wanted {token}"
            if abs(answer["logprobs"][at] - want["logprobs"][at]) > logprob_tolerance:
                return f"logprob {at} is {answer['logprobs'][at]:.4f}, wanted {want['logprobs'][at]:.4f}"
            compared += 1
    return "" if compared else "nothing could be compared"
