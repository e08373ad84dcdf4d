"""The product's channel against the real workers of published checkpoint-engine packages, unmodified: what unmodified engines run."""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from engine_world import SLOW, wait_for
from published_server import PublishedServer

SENDER = os.environ["CKPT_CHANNEL_SENDER"]
PACKAGES = Path(sys.prefix) / "checkpoint-engine"
ITEM_BYTES = {"bfloat16": 2, "float32": 4, "float8_e4m3fn": 1, "uint8": 1, "int64": 8}
# Version → door, dialect, whether it answers a failed bucket (0.1.2 only disconnects).
WORKERS = {"0.1.2": ("sglang", "1", False), "0.2.1": ("vllm", "1", True), "0.3.4": ("vllm", "1", True), "0.4.2": ("sglang", "2", True)}
SGLANG = [version for version, (kind, _, _) in WORKERS.items() if kind == "sglang"]


class Engine(PublishedServer):
    def __init__(self, version: str, directory: Path, port: int = 0):
        self.version = version
        self.kind, self.dialect, self.answers_errors = WORKERS[version]
        self.directory = directory
        port_file = directory / "port"
        port_file.unlink(missing_ok=True)
        command = [str(Path(__file__).with_name("published_engine.py")), str(PACKAGES / version), self.kind, str(port_file), str(port)]
        super().__init__(directory, command, port_file)
        self.content, self.buckets = content()
        self.memory = directory / "memory"
        self.memory.write_bytes(self.content)

    def job(self, **settings) -> Path:
        job = {
            "endpoint": self.endpoint,
            "key": "GPU-standin",
            "dialect": "auto",
            "socket_dir": str(self.directory / "sockets"),
            "journal_dir": str(self.directory / "journal"),
            "memory": str(self.memory),
            "bytes": len(self.content),
            "buckets": self.buckets,
            "version": "v1",
            "ack_timeout": 10 * SLOW,
            "connect_timeout": 10 * SLOW,
            "hang_before_bucket": -1,
            "dialect_file": str(self.directory / "dialects"),
        }
        path = self.directory / "job.json"
        path.write_text(json.dumps(job | settings))
        return path

    def update(self, **settings) -> dict:
        ended = subprocess.run([SENDER, str(self.job(**settings))], stdout=subprocess.PIPE, text=True, check=True, timeout=30 * SLOW)
        return json.loads(ended.stdout)

    def recover(self) -> int:
        ended = subprocess.run([SENDER, "recover", str(self.directory / "journal")], stdout=subprocess.PIPE, text=True, check=True, timeout=30 * SLOW)
        return json.loads(ended.stdout)["freed"]

    def entries(self) -> list:
        return os.listdir(self.directory / "journal")

    def remembered(self) -> str:
        try:
            return (self.directory / "dialects").read_text()
        except OSError:
            return ""

    def expect_update(self, dialect="auto") -> dict:
        """The engine takes an update, and every byte of it; also its draft model, where the test gave it one."""
        ended = self.update(dialect=dialect)
        assert (ended["code"], ended["dialect"]) == ("ok", self.dialect), ended
        model = self.model()
        assert model["hooks"] == ended["sessions"] and model["workers"] == 0
        expected = {}
        for tensor in (tensor for bucket in self.buckets for tensor in bucket):
            size = ITEM_BYTES[tensor["dtype"]] * numel(tensor["shape"])
            digest = hashlib.sha256(self.content[tensor["offset"] : tensor["offset"] + size]).hexdigest()
            expected[tensor["name"]] = [tensor["dtype"], tensor["shape"], digest]
        assert model["tensors"] == expected
        assert model["draft"] == (expected if ended["sessions"] == 2 else {})
        assert self.entries() == [] and os.listdir(self.directory / "sockets") == []
        return ended

    def close(self):
        self.process.kill()
        self.process.wait(timeout=10)
        self.log.close()


def numel(shape) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def content():
    """The bytes of a buffer, and the buckets that lie in it."""
    shapes = [("embed", "bfloat16", [64, 32]), ("scale", "float32", []), ("empty", "bfloat16", [0, 4]), ("wq", "float8_e4m3fn", [16, 48]), ("ids", "int64", [7]), ("名", "uint8", [2, 3, 5, 1])]
    tensors, offset = [], 0
    for name, dtype, shape in shapes:
        tensors.append({"name": name, "dtype": dtype, "shape": shape, "offset": offset})
        offset += -(-ITEM_BYTES[dtype] * numel(shape) // 256) * 256
    return random.Random(3).randbytes(offset), [tensors[:2], tensors[2:5], tensors[5:]]


@pytest.fixture(scope="module")
def short_path():
    """A directory whose path is short: those of sockets have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ckpt-workers-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture(scope="module", params=WORKERS)
def engine(request, short_path):
    directory = short_path / request.param
    directory.mkdir(mode=0o700, exist_ok=True)
    made = Engine(request.param, directory)
    yield made
    made.close()


def test_the_package_is_the_one_that_was_published(engine):
    metadata = list((PACKAGES / engine.version).glob("checkpoint_engine-*.dist-info/METADATA"))
    assert len(metadata) == 1 and f"\nVersion: {engine.version}\n" in metadata[0].read_text()


def test_an_update(engine):
    engine.expect_update()
    engine.expect_update(dialect=engine.dialect)


def test_the_dialect_is_remembered(engine):
    (engine.directory / "dialects").unlink(missing_ok=True)
    assert engine.expect_update()["probed"]
    assert engine.remembered() == f"{engine.dialect} {engine.kind} {engine.endpoint}\n"
    assert engine.expect_update()["probed"] == (engine.dialect == "1")  # it leaves at once: waiting for that costs nothing
    engine.control(fail_in_hook=True)
    assert engine.update()["code"] == "remote_error"
    assert engine.remembered() == "" and engine.entries() == []


@pytest.mark.parametrize("versions", [("0.1.2", "0.4.2"), ("0.4.2", "0.1.2")])
def test_an_engine_whose_worker_is_of_another_version_the_next_time(short_path, versions):
    directory = short_path / "-".join(versions)
    directory.mkdir(mode=0o700)
    port = 0
    for version in versions:
        engine = Engine(version, directory, port)
        try:
            engine.expect_update()
            assert engine.remembered() == f"{engine.dialect} sglang {engine.endpoint}\n"
        finally:
            engine.close()
        port = engine.port


@pytest.mark.parametrize("engine", SGLANG, indirect=True)  # vLLM's worker loads its draft model in the same session
def test_a_worker_that_comes_again_for_its_draft_model(engine):
    for dialect in ("auto", "auto", engine.dialect):
        engine.control(sessions=2)
        assert engine.expect_update(dialect=dialect)["sessions"] == 2
    assert engine.expect_update()["sessions"] == 1


@pytest.mark.parametrize("engine", SGLANG, indirect=True)
def test_a_draft_model_that_does_not_load_is_reported(engine):
    engine.control(sessions=2, fail_in_draft=True)
    ended = engine.update()
    assert ended["code"] == "remote_error" and "draft weight embed does not fit" in ended["error"], ended
    wait_for(lambda: engine.model()["workers"] == 0, "the worker to be free")
    assert engine.entries() == []
    engine.expect_update()


@pytest.mark.parametrize("bucket", [1, 3])
def test_a_bucket_that_does_not_load_is_reported_also_the_last_one(engine, bucket):
    engine.control(fail_in_load=bucket)
    ended = engine.update()
    assert ended["code"] == "remote_error", ended
    name = engine.buckets[bucket - 1][0]["name"]
    if engine.answers_errors:
        assert f"bucket {bucket - 1}: the worker answered:" in ended["error"] and f"ValueError: weight {name} does not fit" in ended["error"], ended
    else:
        assert f"400: IPC weight update failed: weight {name} does not fit" in ended["error"], ended
    wait_for(lambda: engine.model()["workers"] == 0, "the worker to be free")
    assert engine.model()["hooks"] == 0 and engine.entries() == []
    engine.expect_update()


def test_a_handle_that_cannot_be_opened(engine):
    ended = engine.update(memory="/tmp/ckpt-is-not-there")
    assert ended["code"] == "remote_error", ended
    if engine.answers_errors:
        assert "handle: the worker answered:" in ended["error"]
    assert "No such file" in ended["error"] or engine.kind == "vllm", ended
    wait_for(lambda: engine.model()["workers"] == 0, "the worker to be free")
    engine.expect_update()


def test_a_hook_that_raises(engine):
    """No answer comes then, in no version: the engine's reply says why."""
    engine.control(fail_in_hook=True)
    ended = engine.update()
    assert ended["code"] == "remote_error", ended
    assert ("500: Internal Server Error" if engine.kind == "vllm" else "the hook failed") in ended["error"], ended
    assert engine.entries() == []
    engine.expect_update()


def test_a_worker_of_a_killed_sender_is_freed(engine):
    sender = subprocess.Popen([SENDER, str(engine.job(hang_before_bucket=2))], stdout=subprocess.PIPE, text=True)
    assert sender.stdout.readline() == "hanging\n"
    sender.kill()
    sender.wait(timeout=10)
    sender.stdout.close()
    assert engine.model()["workers"] == 1  # it would wait for ever
    assert engine.recover() == 1
    wait_for(lambda: engine.model()["workers"] == 0, "the worker to be free")
    assert "the parameter server died" in engine.model()["error"] or not engine.answers_errors, engine.model()
    assert engine.entries() == []
    engine.expect_update()


def test_a_worker_that_loads_too_long_is_freed_afterwards(engine):
    engine.control(load_seconds=2)  # recovery waits 5 s for it
    ended = engine.update(ack_timeout=0.2)
    assert ended["code"] == "deadline_exceeded", ended
    assert len(engine.entries()) == 1
    assert engine.recover() == 1
    wait_for(lambda: engine.model()["workers"] == 0, "the worker to be free")
    assert engine.entries() == []
    engine.expect_update()


def test_a_worker_that_comes_when_the_sender_has_given_up_is_freed(engine):
    engine.control(come_after_seconds=1.5 * SLOW)
    ended = engine.update(connect_timeout=0.2)
    assert ended["code"] == "deadline_exceeded", ended
    assert len(engine.entries()) == 1
    wait_for(lambda: engine.model()["workers"] == 1, "the worker to come")
    assert engine.recover() == 1
    wait_for(lambda: engine.model()["workers"] == 0, "the worker to be free")
    assert engine.entries() == []
    engine.expect_update()
