"""Real engines, updates and what they may leave behind: shared by the end-to-end and the fault tests."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from child_process import finish

BINARY = os.environ["CKPT_ENGINE_BINARY"]
SLOW = 5 if os.environ.get("CKPT_SANITIZED") else 1  # sanitized builds take their time


class Engine:
    """One `ckpt-engine engine`. `via` makes its command one that runs elsewhere, where it listens on `host`."""

    def __init__(self, world: "World", model: Path, tp: int, name: str, *arguments: str, via=list, host: str = "127.0.0.1", **environment: str):
        self.port_file = world.path / f"port-{name}"
        command = [BINARY, "engine", "--model", str(model), "--tp", str(tp), "--host", host, "--port", "0", "--port-file", str(self.port_file), "--quiet", *arguments]
        self.log = open(world.path / f"engine-{name}.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(via(command), env=world.environment | environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        wait_for(lambda: self.port_file.exists() and self.port_file.read_text().strip(), "the engine's port")
        self.endpoint = f"http://{host}:{self.port_file.read_text().strip()}"
        wait_for(lambda: self.status("/ping") == 200, "the engine to be ready")

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.endpoint + path, timeout=10 * SLOW) as reply:
            return json.load(reply)

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.endpoint + path, timeout=2 * SLOW) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def weights(self) -> dict:
        return self.get("/weights")

    def workers(self) -> list[int]:
        return children(self.process.pid)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10 * SLOW)


class World:
    """A directory, a private runtime directory, engines, checkpoints. `close` ends everything and says what was left behind."""

    def __init__(self, path: Path):
        self.path = path
        self.runtime = Path(f"/tmp/ckpt-rt-{os.getpid()}-{time.monotonic_ns()}")  # short: socket paths have 107 bytes at most
        self.runtime.mkdir(mode=0o700)
        self.environment = os.environ | {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "CKPT_HEARTBEAT_INTERVAL": "100ms",
            "CKPT_HEARTBEAT_TIMEOUT": f"{1500 * SLOW}ms",
            "CKPT_LOG_LEVEL": "error",
            "CKPT_FAKE_CUDA_MACHINE": f"{os.getpid()}.{time.monotonic_ns() // 1000 % 1000000}",
        }
        for name in ("RANK", "WORLD_SIZE", "CKPT_FAULT", "CKPT_FAULT_RANK"):
            self.environment.pop(name, None)
        self.shared_memory = shared_memory()
        self.engines: list[Engine] = []

    def checkpoint(self, name: str, shape: str, seed: int) -> Path:
        directory = self.path / name
        subprocess.run([BINARY, "make-checkpoint", "--quiet", "--shape", shape, "--seed", str(seed), "--shards", "2", "--out", directory], check=True, timeout=60 * SLOW)
        return directory

    def engine(self, model: Path, tp: int, *arguments: str, **options) -> Engine:
        self.engines.append(Engine(self, model, tp, str(len(self.engines)), *arguments, **options))
        return self.engines[-1]

    def command(self, checkpoint: Path, version: str, ranks: int, tp: int, *arguments: str) -> list[str]:
        endpoints = [part for engine in self.engines for part in ("--endpoint", engine.endpoint)]
        command = [BINARY, "update", "--checkpoint-path", str(checkpoint), "--weight-version", version, "--nproc-per-node", str(ranks), "--inference-parallel-size", str(tp)]
        limits = [] if "--timeout" in arguments else ["--timeout", f"{20 * SLOW}s"]
        return command + (endpoints if "--endpoint" not in arguments else []) + ["--bucket-size", "256KiB", "--stripe-size", "64KiB", *limits, *arguments]

    def start_update(self, checkpoint: Path, version: str, *arguments: str, ranks: int = 4, tp: int = 2, **environment: str) -> subprocess.Popen:
        command = self.command(checkpoint, version, ranks, tp, *arguments)
        return subprocess.Popen(command, env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def update(self, checkpoint: Path, version: str, *arguments: str, limit_s: float = 30, **options) -> subprocess.CompletedProcess:
        process = self.start_update(checkpoint, version, *arguments, **options)
        return finish(process, limit_s * SLOW)

    def left_over(self) -> list[str]:
        """Sockets, journal entries and shared memory that nobody should hold any more. Other programs of the machine may have objects in /dev/shm for a
        moment: those that stay count."""
        left = [str(path) for folder in ("ckpt-engine/sockets", "ckpt-engine/journal") for path in (self.runtime / folder).glob("*")]
        shared = self.new_shared_memory()
        for _ in range(10):
            if not shared:
                break
            time.sleep(0.2)
            shared &= self.new_shared_memory()
        return left + sorted(shared)

    def new_shared_memory(self) -> set[str]:
        own_gpus = f"ckpt-fake-gpu-{self.environment['CKPT_FAKE_CUDA_MACHINE']}-"
        return {name for name in shared_memory() - self.shared_memory if not name.startswith("ckpt-fake-") or name.startswith(own_gpus)}

    def close(self) -> None:
        for engine in self.engines:
            with contextlib.suppress(ProcessLookupError):
                for worker in engine.workers():
                    os.kill(worker, signal.SIGCONT)
                os.killpg(engine.process.pid, signal.SIGKILL)
            engine.process.wait(timeout=10)
        subprocess.run(["rm", "-rf", str(self.runtime)], check=False)


def one_error(ended: subprocess.CompletedProcess) -> str:
    """The error of a command that failed: it stands alone."""
    errors = [line for line in ended.stderr.splitlines() if line.startswith("ckpt-engine: ")]
    assert ended.returncode != 0 and len(errors) == 1, ended.stderr
    return errors[0]


def shared_memory() -> set[str]:
    """Names of the objects in /dev/shm. Directories are somebody's files."""
    return {entry.name for entry in os.scandir("/dev/shm") if not entry.is_dir(follow_symlinks=False)}


def children(pid: int) -> list[int]:
    try:
        return [int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def wait_for(condition, what: str, limit_s: float = 20):
    """Polls until `condition` gives something true, and returns it."""
    end = time.monotonic() + limit_s * SLOW
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come within {limit_s * SLOW} s"
        time.sleep(0.02)
