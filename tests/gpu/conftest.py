"""Published workers on GPUs: one engine for each package and number of GPUs, all started at once, and checkpoints to put into them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "bench" / "gpu"), str(HERE.parent / "support")]

from checkpoint_files import read_headers  # noqa: E402
from child_process import finish  # noqa: E402

BINARY = os.environ.get("CKPT_ENGINE_BINARY", "ckpt-engine")
PACKAGES = Path(os.environ.get("CKPT_WORKER_PACKAGES", ""))
VERSIONS = ("0.1.2", "0.2.1", "0.3.4", "0.4.2")
TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I64": "int64", "U8": "uint8"}
LIMIT_S = 90  # for one update, however it ends
SAFE = {"NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1", "NVSHMEM_DISABLE_NVLS": "1"}


def gpu_count() -> int:
    if os.environ.get("CKPT_GPU_STAND_IN"):  # the folder of the software GPU's libraries
        return 2
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return len(listed.stdout.splitlines()) if listed.returncode == 0 else 0


def wait_for(condition, what: str, limit_s: float = 60):
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come within {limit_s} s"
        time.sleep(0.02)
    return value


class Engine:
    """One door with its workers."""

    def __init__(self, version: str, devices: int, directory: Path):
        self.devices, self.directory, self.port_file = devices, directory, directory / "port"
        directory.mkdir()
        command = [sys.executable, str(HERE / "published_workers.py"), "--package", str(PACKAGES / version), "--devices", str(devices), "--port-file", str(self.port_file)]
        self.log = open(directory / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env=os.environ | SAFE, start_new_session=True)
        self.runtime = directory / "run"
        self.runtime.mkdir(mode=0o700)

    def endpoint(self) -> str:
        wait_for(lambda: self.port_file.exists() or self.process.poll() is not None, "the engine's port", 120)
        assert self.process.poll() is None, (self.directory / "log").read_text()
        return f"http://127.0.0.1:{self.port_file.read_text()}"

    def get(self, path: str):
        with urllib.request.urlopen(self.endpoint() + path, timeout=60) as reply:
            return json.load(reply)

    def post(self, path: str, body: dict):
        request = urllib.request.Request(self.endpoint() + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def start_update(self, checkpoint: Path, *arguments: str) -> subprocess.Popen:
        command = [BINARY, "update", "--checkpoint-path", str(checkpoint), "--nproc-per-node", str(self.devices), "--endpoint", self.endpoint(), "--engine", "vllm",
                   "--device", "cuda", "--bucket-size", "32MiB", "--timeout", "60s", *arguments]
        environment = os.environ | SAFE | {"XDG_RUNTIME_DIR": str(self.runtime)}
        if stand_in := os.environ.get("CKPT_GPU_STAND_IN"):
            environment |= {"LD_LIBRARY_PATH": stand_in, "CKPT_NCCL_LIBRARY": stand_in + "/libnccl.so.2", "CKPT_FAKE_CUDA_MEMORY": "1GiB"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def update(self, checkpoint: Path, *arguments: str) -> subprocess.CompletedProcess:
        return finish(self.start_update(checkpoint, *arguments), LIMIT_S)

    def expect_update(self, checkpoint: Path, *arguments: str):
        """It works, and every worker has every byte of the files."""
        ended = self.update(checkpoint, *arguments)
        assert ended.returncode == 0, ended.stderr
        want = file_digests(checkpoint)
        for rank, held in enumerate(self.post("/digests", {})):
            assert held == want, f"worker {rank}: {[name for name in want if held.get(name) != want[name]][:5]} differ"
        assert self.get("/history")[-1]["workers"] == [{"loads": self.get("/history")[-1]["workers"][0]["loads"], "hooks": 1}] * self.devices
        left = [str(path) for folder in ("ckpt-engine/sockets", "ckpt-engine/journal") for path in (self.runtime / folder).glob("*")]
        assert left == []

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        self.log.close()


DIGESTS: dict[Path, dict] = {}


def file_digests(checkpoint: Path) -> dict:
    """Of the files alone, read once."""
    if checkpoint not in DIGESTS:
        DIGESTS[checkpoint] = {}
        for path, name, dtype, shape, begin, size in read_headers(checkpoint):
            with open(path, "rb") as file:
                file.seek(begin)
                DIGESTS[checkpoint][name] = [TORCH_NAMES[dtype], list(shape), hashlib.sha256(file.read(size)).hexdigest()]
    return DIGESTS[checkpoint]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> list[Path]:
    """Two versions of a mixture of experts in FP8 with block scales, in several files."""
    made = []
    for seed in (1, 2):
        made.append(tmp_path_factory.mktemp("checkpoints") / f"v{seed}")
        subprocess.run([BINARY, "make-checkpoint", "--quiet", "--shape", "deepseek-fp8", "--max-bytes", "600MB", "--seed", str(seed), "--shards", "3", "--out", made[-1]], check=True)
    return made


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    if gpu_count() == 0:
        pytest.skip("nvidia-smi finds no GPU")
    if not PACKAGES.name:
        pytest.skip("CKPT_WORKER_PACKAGES is not set: bench/gpu/fetch_wheels fetches the packages")
    base = Path(f"/tmp/ckpt-gpu-{os.getpid()}")  # short: socket paths have 107 bytes at most
    base.mkdir(mode=0o700)
    started = {(version, devices): Engine(version, devices, base / f"{version}-{devices}") for version in VERSIONS for devices in (1, 2) if devices <= gpu_count()}
    yield started
    for engine in started.values():
        engine.close()
    subprocess.run(["rm", "-rf", str(base)], check=False)
