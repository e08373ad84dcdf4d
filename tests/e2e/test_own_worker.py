"""ckpt_engine.worker inside an engine, as published workers are: updated by `ckpt-engine update` on software GPUs and from host memory, and by senders
that speak as checkpoint-engine's do.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import zmq
from engine_world import SLOW, finish, one_error, wait_for
from gpu_world import OURS, GpuWorld, HostWorld, digests

STANDIN = Path(__file__).resolve().parent.parent / "support" / "torch_standin"


@pytest.fixture(params=[("vllm", 1), ("vllm", 2), ("sglang", 1), ("sglang", 2)], ids=lambda case: f"{case[0]}-{case[1]}")
def gpus(request, tmp_path):
    kind, num_gpus = request.param
    made = GpuWorld(tmp_path, "ours", num_gpus, kind=kind)
    yield made
    made.close()


@pytest.fixture(params=[1, 2])
def host(request, tmp_path):
    made = HostWorld(tmp_path, "ours", request.param)
    yield made
    made.close()


def test_updates_on_gpus_are_native(gpus):
    for seed, version in ((1, "v1"), (2, "v2")):
        gpus.expect_update(gpus.checkpoint(version, "tiny-qwen3", seed), version)
        assert not (gpus.runtime / "ckpt-engine/dialects").exists()  # where pickles would be remembered
    assert gpus.journal() == []


def test_a_known_dialect_makes_no_difference(gpus):
    checkpoint = gpus.checkpoint("v1", "tiny-qwen3", 1)
    (gpus.runtime / "ckpt-engine").mkdir(mode=0o700)
    (gpus.runtime / "ckpt-engine/dialects").write_text(f"1 {gpus.engine.kind} {gpus.engine.endpoint}\n")
    gpus.expect_update(checkpoint, "v1")


def test_our_worker_takes_pickles_too(gpus):
    gpus.expect_update(gpus.checkpoint("v1", "tiny-qwen3", 1), "v1", "--dialect", "2")


def test_a_sender_of_dialect_1_waits_for_the_engine(gpus):
    """It says nothing more after release, and stays: 3 s later the worker takes it for done."""
    if gpus.num_gpus == 1 and gpus.engine.kind == "vllm":
        gpus.expect_update(gpus.checkpoint("v1", "tiny-qwen3", 1), "v1", "--dialect", "1")


def test_draft_models(gpus):
    if gpus.engine.kind != "sglang":
        return  # vLLM's come in the same session
    report = json.loads(gpus.expect_update(gpus.checkpoint("v1", "tiny-qwen3", 1), "v1", "--json", sessions=3).stdout)
    assert any("workers came 3 times" in note for note in report["notes"]), report


def test_failures_are_told_in_the_loaders_words(gpus):
    checkpoint = gpus.checkpoint("v1", "tiny-qwen3", 1)
    gpus.engine.control(fail_in_load=2)
    assert "ValueError: weight" in gpus.expect_failure(checkpoint, "v1")
    assert gpus.engine.model()["error"].startswith("ValueError: weight") or gpus.num_gpus > 1  # raised in the engine as it was in the loader
    gpus.engine.control(fail_in_hook=True)
    assert "RuntimeError: the hook failed" in gpus.expect_failure(checkpoint, "v1")
    assert gpus.left_over() == [] and gpus.journal() == []
    gpus.expect_update(checkpoint, "v1")


def test_a_sender_that_dies_frees_the_worker(gpus):
    checkpoint = gpus.checkpoint("v1", "tiny-qwen3", 1)
    gpus.engine.control(load_seconds=0.3)
    update = gpus.start_gpu_update(checkpoint, "v1")
    wait_for(lambda: sum("\nnative\n" in entry.read_text() for entry in gpus.journal()) == gpus.num_gpus, "the workers to come")
    os.killpg(update.pid, signal.SIGKILL)
    update.communicate()
    wait_for(lambda: gpus.engine.model()["workers"] == 0, "the workers to be free")
    gpus.free_what_the_dead_had()
    gpus.expect_update(checkpoint, "v1")
    assert gpus.journal() == []  # they are known to look after themselves


def test_digests_are_taken_of_what_is_on_the_gpu(gpus):
    first = gpus.checkpoint("v1", "tiny-qwen3", 1)
    second = gpus.checkpoint("v2", "tiny-qwen3", 2)
    assert json.loads(gpus.expect_update(first, "v1", "--verify", "--json").stdout)["verified"]
    flipped = {"CKPT_FAKE_CUDA_FAIL": "flip:1:3"}  # on the way to the slot, where a sender sees nothing of it
    error = gpus.expect_failure(second, "v2", "--verify", "--rollback-path", str(first), **flipped)
    assert re.search(r"bucket \d+, in tensor \S+( or the \d+ after it)?: the bytes of rank \d have digest", error), error
    assert "the engines are back at version v1" in error, error
    assert gpus.engine.model()["tensors"] == [digests(first)] * gpus.num_gpus
    assert gpus.gpu_update(second, "v2", **flipped).returncode == 0 and gpus.engine.model()["tensors"] != [digests(second)] * gpus.num_gpus  # without --verify


def test_updates_from_host_memory(host):
    for seed, version in ((1, "v1"), (2, "v2")):
        checkpoint = host.checkpoint(version, "tiny-qwen3", seed)
        ended = host.host_update(checkpoint, version, "--verify", "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["verified"]
        model = host.engine.model()
        assert model["tensors"] == [digests(checkpoint)] * host.num_workers
        assert model["hooks"] == host.num_workers
        assert host.left_over() == []


def test_failures_from_host_memory(host):
    checkpoint = host.checkpoint("v1", "tiny-qwen3", 1)
    host.engine.control(fail_in_load=1)
    ended = host.host_update(checkpoint, "v1")
    assert "ValueError: weight" in one_error(ended)
    assert host.left_over() == []
    assert host.host_update(checkpoint, "v1").returncode == 0


def test_an_unmodified_worker_cannot_take_host_memory(tmp_path):
    world = HostWorld(tmp_path, "0.2.1", 1)
    try:
        ended = world.host_update(world.checkpoint("v1", "tiny-qwen3", 1), "v1", "--dialect", "1")
        assert "--dialect auto" in one_error(ended)
    finally:
        world.close()


# ---- senders of pickles, written with the same pickler and the same names as checkpoint-engine's

RECEIVE = """
import json, sys
sys.path[:0] = sys.argv[2:4]
import hashlib
from ckpt_engine.worker import update_weights_from_ipc
got, hooks = {}, []
def run(weights):
    for name, tensor in weights:
        if name == "bad": raise ValueError("bad does not fit")
        got[name] = [tensor.dtype.name, list(tensor.shape), tensor.data.hex()]
print("waiting", flush=True)
try:
    update_weights_from_ipc(None, sys.argv[1], 0, run=run, post_hook=lambda: hooks.append(1))
    print(json.dumps([got, len(hooks), ""]))
except BaseException as error:
    print(json.dumps([got, len(hooks), f"{type(error).__name__}: {error}"]))
"""


class PickleSender:
    """Binds an abstract name, as the reference's server does, and sends what it is told with `send_pyobj`."""

    def __init__(self, path: Path):
        sys.path.insert(0, str(STANDIN))
        import torch

        sys.path.pop(0)
        self.torch = torch
        self.memory = path / "memory"
        self.memory.write_bytes(bytes(range(256)) * 8)
        assert len(str(self.memory)) <= 64, "a handle has 64 bytes"
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000 * SLOW)
        self.socket.setsockopt(zmq.SNDTIMEO, 20_000 * SLOW)
        self.address = f"ipc://@ckpt-test-{os.getpid()}-{time.monotonic_ns()}.sock"
        self.socket.bind(self.address)
        command = [sys.executable, "-c", RECEIVE, self.address, str(OURS), str(STANDIN)]
        self.worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.worker.stdout.readline() == "waiting\n"

    def say(self, message) -> str:
        self.socket.send_pyobj(message)
        return self.socket.recv().decode()

    def handle(self) -> tuple:
        torch = self.torch
        raw = str(self.memory).encode().ljust(64, b"\0")
        size = 2048
        arguments = (torch.Tensor, torch.Size((size,)), (1,), 0, torch.storage.TypedStorage, torch.uint8, 3, raw, size, 0, False, b"", 0, b"", False)
        return torch.multiprocessing.reductions.rebuild_cuda_tensor, arguments

    def tensor(self, name: str, dtype: str, shape: tuple, offset: int) -> dict:
        return {"name": name, "dtype": getattr(self.torch, dtype), "shape": self.torch.Size(shape), "offset": offset}

    def outcome(self) -> list:
        return json.loads(self.worker.communicate(timeout=20 * SLOW)[0])

    def close(self):
        self.socket.close()
        self.context.term()


@pytest.fixture
def sender():
    directory = tempfile.TemporaryDirectory(dir="/tmp")  # whose path is short
    made = PickleSender(Path(directory.name))
    yield made
    made.close()
    made.worker.kill()
    made.worker.communicate()
    directory.cleanup()


def content(begin: int, size: int) -> str:
    return (bytes(range(256)) * 8)[begin : begin + size].hex()


@pytest.mark.parametrize("end", ["second None", "leaves", "waits for the engine"])
def test_senders_of_pickles(sender, end):
    assert sender.say(sender.handle()) == ""
    first = [sender.tensor("a", "bfloat16", (2, 3), 256), sender.tensor("b", "float32", (), 512)]
    assert sender.say(first) == ""
    assert sender.say([sender.tensor("c", "bfloat16", (0, 3), 2048), sender.tensor("d", "uint8", (7,), 3)]) == ""
    assert sender.say([]) == ""
    assert sender.say(None) == ""
    if end == "second None":
        assert sender.say(None) == ""
    if end == "leaves":
        sender.socket.close()
    got = {"a": ["bfloat16", [2, 3], content(256, 12)], "b": ["float32", [], content(512, 4)], "c": ["bfloat16", [0, 3], ""], "d": ["uint8", [7], content(3, 7)]}
    assert sender.outcome() == [got, 1, ""]


def test_a_sender_that_aborts_with_an_exception(sender):
    assert sender.say(sender.handle()) == ""
    sender.socket.send_pyobj(RuntimeError("Some workers failed to update weights"))
    got, hooks, error = sender.outcome()
    assert (got, hooks) == ({}, 0)
    assert error.startswith("CancelledError: ") and "RuntimeError: Some workers failed to update weights" in error


def test_a_failure_is_raised_when_the_sender_has_let_go(sender):
    assert sender.say(sender.handle()) == ""
    assert sender.say([sender.tensor("bad", "uint8", (1,), 0)]) == "ValueError: bad does not fit"
    assert "ValueError: bad does not fit" in sender.say([])  # one that did not look
    assert sender.worker.poll() is None
    sender.socket.send_pyobj(RuntimeError("stop"))
    assert sender.outcome() == [{}, 0, "ValueError: bad does not fit"]


def test_what_lies_outside_is_never_made(sender):
    assert sender.say(sender.handle()) == ""
    assert "lies outside the buffer" in sender.say([sender.tensor("a", "float32", (2,), 2044)])
    sender.socket.send_pyobj(RuntimeError("stop"))
    assert sender.outcome()[2].startswith("DataCorruptionError: ")


def test_pickles_are_not_executed(sender, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    answer = sender.say(Touch())
    assert "posix.mkdir" in answer
    sender.socket.close()
    assert sender.outcome()[2].startswith("DataCorruptionError: ")
    assert not (tmp_path / "executed").exists()


def test_ctrl_c_ends_a_wait(sender):
    assert sender.say(sender.handle()) == ""
    begin = time.monotonic()
    sender.worker.send_signal(signal.SIGINT)
    assert sender.outcome()[2].startswith("KeyboardInterrupt")
    assert time.monotonic() - begin < 10 * SLOW  # it does not wait for its sender


def test_importing_the_worker_does_not_import_torch():
    code = f"import sys; sys.path.insert(0, {str(OURS)!r}); import ckpt_engine.worker; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
