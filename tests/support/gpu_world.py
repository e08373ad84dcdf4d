"""Updates by ranks on software GPUs (tests/fake_cuda) of engines with real, unmodified workers: shared by the end-to-end and the fault tests."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from engine_world import BINARY, SLOW, World, finish, one_error, wait_for
from expected_shards import tensors
from published_server import PublishedServer

FOLDER = os.environ["CKPT_FAKE_CUDA_FOLDER"]
PACKAGES = Path(sys.prefix) / "checkpoint-engine"
ENGINE = Path(__file__).resolve().parent.parent / "e2e" / "gpu_engine.py"
# Version → door, whether it answers a failed bucket (0.1.2 only disconnects).
WORKERS = {"0.1.2": ("sglang", False), "0.2.1": ("vllm", True), "0.3.4": ("vllm", True), "0.4.2": ("sglang", True)}
OURS = Path(__file__).resolve().parents[2] / "python"  # in the place of a version: our own worker
TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F8_E4M3": "float8_e4m3fn", "U8": "uint8", "I64": "int64"}


def key_of_gpu(number: int) -> str:
    """As the software GPU names itself, and as torch prints it."""
    return f"GPU-{0xF0 - number:02x}fa4e00-0000-4000-8000-00000000{number:02x}00"


def digests(checkpoint: Path) -> dict:
    """What a worker must have received: name → dtype, shape, SHA-256."""
    return {name: [TORCH_NAMES[dtype], list(shape), hashlib.sha256(raw.tobytes()).hexdigest()] for name, dtype, shape, raw in tensors(checkpoint)}


class GpuEngine(PublishedServer):
    """An engine with a worker process for each key."""

    def __init__(self, directory: Path, version: str, keys: list[str], kind: str = "", environment: dict[str, str] | None = None):
        usual, self.answers_errors = WORKERS.get(version, ("", True))
        self.kind = kind or usual
        self.num_gpus = len(keys)
        port_file = directory / "engine-port"
        package = OURS if version == "ours" else PACKAGES / version
        super().__init__(directory, [str(ENGINE), str(package), self.kind, str(port_file), *keys], port_file, start_new_session=True, env=environment)

    def workers(self) -> list[int]:
        return []  # its process group ends them


ASK_HOW_MUCH_IS_FREE = """
import ctypes
cuda, context, free, total = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0 and cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
"""


class RanksOnGpus(World):
    """A World whose processes find two software GPUs, and whose ranks take them."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.environment |= {"LD_LIBRARY_PATH": FOLDER, "CKPT_FAKE_CUDA_MEMORY": "256MiB", "CKPT_DEVICE": "cuda"}

    def free_what_the_dead_had(self) -> None:
        """A GPU's driver does so at once, the software GPU when it is asked next."""
        subprocess.run([sys.executable, "-c", ASK_HOW_MUCH_IS_FREE], env=self.environment, check=True, timeout=10)


class GpuWorld(RanksOnGpus):
    """And one engine, with the workers of a published package."""

    def __init__(self, path: Path, version: str, num_gpus: int, keys: list[str] | None = None, kind: str = ""):
        super().__init__(path)
        sees_gpus = os.environ | {name: value for name, value in self.environment.items() if name.startswith(("CKPT_FAKE_", "LD_"))}
        self.engines.append(GpuEngine(path, version, keys or [key_of_gpu(number) for number in range(num_gpus)], kind, sees_gpus))
        self.num_gpus = num_gpus

    @property
    def engine(self) -> GpuEngine:
        return self.engines[0]

    def left_over(self) -> list[str]:
        """But for journal entries: a worker that was asked for and has not come may come later, and is waited for in the updates of two hours."""
        return [left for left in super().left_over() if not left.endswith(".session")]

    def start_gpu_update(self, checkpoint: Path, version: str, *arguments: str, **environment: str) -> subprocess.Popen:
        arguments = ("--engine", self.engine.kind, *arguments)
        return self.start_update(checkpoint, version, *arguments, ranks=self.num_gpus, tp=self.num_gpus, **environment)

    def journal(self) -> list[Path]:
        return list((self.runtime / "ckpt-engine" / "journal").glob("*.session"))

    def gpu_update(self, checkpoint: Path, version: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return finish(self.start_gpu_update(checkpoint, version, *arguments, **environment), 30 * SLOW)

    def run(self, *arguments: str, limit_s: float = 60) -> subprocess.CompletedProcess:
        """Another command, on the software GPUs."""
        return subprocess.run([BINARY, *arguments], env=self.environment, capture_output=True, text=True, timeout=limit_s * SLOW, check=False)

    def expect_update(self, checkpoint: Path, version: str, *arguments: str, sessions: int = 1) -> subprocess.CompletedProcess:
        """The update succeeds: every worker has every tensor, bit for bit, and nothing is left over. With more sessions than one its draft model too."""
        self.engine.control(sessions=sessions)
        ended = self.gpu_update(checkpoint, version, *arguments)
        assert ended.returncode == 0, ended.stderr
        model = self.engine.model()
        assert model["tensors"] == [digests(checkpoint)] * self.num_gpus
        assert model["draft"] == [digests(checkpoint) if sessions > 1 else {}] * self.num_gpus
        assert model["hooks"] == self.num_gpus * sessions
        left = self.left_over()
        assert left == [], left
        return ended

    def expect_failure(self, checkpoint: Path, version: str, *arguments: str, **environment: str) -> str:
        """The update fails with one error, which is returned with all of its lines. The workers are free again; one that comes too late for this update
        is freed by the next."""
        ended = self.gpu_update(checkpoint, version, *arguments, **environment)
        one_error(ended)
        wait_for(lambda: self.engine.model()["workers"] == 0 or self.journal(), "the workers to be free")
        return ended.stderr


class HostWorld(World):
    """A vLLM on the CPU with our worker extension, and ranks whose device is host memory."""

    def __init__(self, path: Path, version: str, num_workers: int):
        super().__init__(path)
        self.environment |= {"CKPT_DEVICE": "host"}
        self.num_workers = num_workers
        keys = [f"rank:{number}" for number in range(num_workers)]
        self.engines.append(GpuEngine(path, version, keys if version == "ours" else ["GPU-none"], "vllm"))

    @property
    def engine(self) -> GpuEngine:
        return self.engines[0]

    def host_update(self, checkpoint: Path, version: str, *arguments: str) -> subprocess.CompletedProcess:
        process = self.start_update(checkpoint, version, "--engine", self.engine.kind, *arguments, ranks=self.num_workers, tp=self.num_workers)
        return finish(process, 30 * SLOW)
