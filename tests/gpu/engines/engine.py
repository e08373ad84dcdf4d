"""A real engine on a GPU machine, as the checks start, ask and end it; what they tell; and how answers are judged."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Multicast in the NVLink switch can put GPUs that others share out of service. Both engines would use it by themselves: off here, and by their own switches below.
SAFE = {"NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1", "NVSHMEM_DISABLE_NVLS": "1"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
VLLM = {
    "VLLM_SERVER_DEV_MODE": "1",  # opens /collective_rpc
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # flashinfer is not packed
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",  # with spawn the engine's process imports everything again
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_USE_NCCL_SYMM_MEM": "0",
    "VLLM_ALLREDUCE_USE_FLASHINFER": "0",
}
# A token whose margin to the runner-up is below the first may differ between float32 and bfloat16; logprobs agree within the second. An expert that was chosen
# by a hair changes all that follows, so mixtures get more room: the strict comparison is the one with the server that loaded from disk.
ROOM = {"qwen3": (0.2, 0.15), "qwen3_moe": (0.6, 0.5)}
FAILED = []


def read_arguments(worker: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["vllm", "sglang"])
    parser.add_argument("model", type=Path)
    parser.add_argument("logs", type=Path)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--sender", default=os.environ.get("CKPT_ENGINE_BINARY", "ckpt-engine"))
    arguments = parser.parse_args()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    arguments.worker, arguments.filling_port = worker, arguments.port + 50
    arguments.label = f"{arguments.engine}-{arguments.model.name}-tp{arguments.tp}-{worker}"
    return arguments


def tell(step: str, good: bool = True, **facts) -> None:
    print(json.dumps({"step": step, "ok": good, **facts}), flush=True)
    if not good:
        FAILED.append(step)


def http(url: str, body=None, timeout_s: float = 60) -> tuple[int, str]:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def command_of(arguments, model: Path, load_format: str) -> list[str]:
    """`arguments.worker`: published, with the package checkpoint_engine in the engine, or ours."""
    common = ["--served-model-name", "model", "--load-format", load_format, "--dtype", "bfloat16", "--disable-custom-all-reduce", "--host", "127.0.0.1", "--port", str(arguments.port)]
    ours = arguments.worker == "ours"
    package = "ckpt_engine" if ours else "checkpoint_engine"
    more = ["--model-loader-extra-config", json.dumps({"port": arguments.filling_port})] if load_format == "ckpt_engine" else []
    if ours and arguments.engine == "vllm":
        more += ["--weight-transfer-config", json.dumps({"backend": "ckpt_engine"})]
    if arguments.engine == "vllm":
        return ["vllm.entrypoints.openai.api_server", "--model", str(model), "--enforce-eager", "--max-model-len", "512", "--max-num-seqs", "8", "--no-enable-prefix-caching",
                "--gpu-memory-utilization", "0.3", "--kv-cache-memory-bytes", str(2 << 30), "--tensor-parallel-size", str(arguments.tp),
                "--worker-extension-cls", f"{package}.worker.VllmColocateWorkerExtension", *common, *more]
    return ["ckpt_engine.sglang.launch_server" if ours else "sglang.launch_server", "--model-path", str(model), "--disable-cuda-graph", "--context-length", "512", "--max-running-requests", "8", "--disable-radix-cache",
            "--mem-fraction-static", "0.3", "--tp-size", str(arguments.tp), "--attention-backend", "triton", "--sampling-backend", "pytorch", "--grammar-backend", "none",
            "--enforce-disable-flashinfer-allreduce-fusion", *common, *more]


def update_command(arguments, url: str, checkpoint: Path, *options: str) -> list[str]:
    """`ckpt-engine update` of the engine at `url`, with its report as JSON."""
    return [arguments.sender, "update", "--checkpoint-path", str(checkpoint), "--engine", arguments.engine, "--endpoint", url, "--nproc-per-node", str(arguments.tp), "--json", *options]


class Server:
    """A running engine; ends with the block. `path`: its PYTHONPATH. `meanwhile` is called when its process has been started."""

    def __init__(self, arguments, model: Path, load_format: str, path: str, meanwhile=lambda: None):
        self.engine, self.url = arguments.engine, f"http://127.0.0.1:{arguments.port}"
        self.log = arguments.logs / f"{arguments.label}-{load_format}.log"
        environment = os.environ | SAFE | OFFLINE | (VLLM if arguments.engine == "vllm" else {}) | {"PYTHONPATH": path}
        begin = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([sys.executable, "-m", *command_of(arguments, model, load_format)], stdout=log, stderr=log, env=environment, start_new_session=True)
        meanwhile()
        while self.process.poll() is None and time.monotonic() - begin < 300:
            if http(self.url + "/health", timeout_s=5)[0] == 200:
                return tell(f"server, {load_format} weights", seconds=round(time.monotonic() - begin, 1))
            time.sleep(0.25)
        self.__exit__()
        print(self.log.read_text(errors="replace")[-5000:])
        raise SystemExit(f"the server did not start: {self.log}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def answer(self, prompt: list[int], count: int) -> tuple[list[int], list[float]]:
        if self.engine == "vllm":
            body = dict(model="model", prompt=prompt, max_tokens=count, temperature=0, logprobs=1, ignore_eos=True, return_tokens_as_token_ids=True)
            status, text = http(self.url + "/v1/completions", body)
            assert status == 200, text
            logprobs = json.loads(text)["choices"][0]["logprobs"]
            return [int(token.split(":")[1]) for token in logprobs["tokens"]], logprobs["token_logprobs"]
        body = dict(input_ids=prompt, sampling_params=dict(temperature=0, max_new_tokens=count, ignore_eos=True), return_logprob=True)
        status, text = http(self.url + "/generate", body)
        assert status == 200, text
        pairs = json.loads(text)["meta_info"]["output_token_logprobs"]
        return [pair[1] for pair in pairs], [pair[0] for pair in pairs]

    def answers(self, cases: list) -> list:
        return [self.answer(case["prompt"], len(case["tokens"])) for case in cases]


def agrees(got: list, cases: list, room: tuple[float, float]) -> tuple[bool, dict]:
    """With what transformers says: each answer up to its first near tie that went the other way."""
    compared = wrong = 0
    worst = 0.0
    for (tokens, logprobs), case in zip(got, cases):
        for token, logprob, want, want_logprob, margin in zip(tokens, logprobs, case["tokens"], case["logprobs"], case["margins"]):
            if token != want:
                wrong += margin >= room[0]
                break
            compared += 1
            worst = max(worst, abs(logprob - want_logprob))
    enough = compared >= sum(len(case["tokens"]) for case in cases) // 3
    return wrong == 0 and enough and worst < room[1], dict(compared=compared, wrong=wrong, largest_logprob_difference=round(worst, 4))


