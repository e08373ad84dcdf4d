"""The product against unmodified workers of four published packages, with real torch on real GPUs."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import VERSIONS, finish, gpu_count, wait_for


def engine_of(engines, version: str, devices: int):
    if devices > gpu_count():
        pytest.skip(f"{devices} GPUs are needed")
    return engines[version, devices]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("version", VERSIONS)
def test_two_updates(engines, checkpoints, version, devices):
    engine = engine_of(engines, version, devices)
    for checkpoint in checkpoints:
        engine.expect_update(checkpoint)


@pytest.fixture(params=[(version, devices) for version in ("0.1.2", "0.4.2") for devices in (1, 2)], ids=lambda p: f"{p[0]}-{p[1]}")
def loading(request, engines, checkpoints, tmp_path):
    """An engine whose workers load the second bucket of an update, slowly; the update; its checkpoint."""
    engine = engine_of(engines, *request.param)
    engine.expect_update(checkpoints[0])
    engine.post("/control", {"load_seconds": 1.0, "touch": str(tmp_path / "loading")})
    update = engine.start_update(checkpoints[1])
    wait_for(lambda: (tmp_path / "loading0").exists() or update.poll() is not None, "the second bucket")
    assert update.poll() is None, update.communicate()[1]
    yield engine, update, checkpoints[1]
    if update.poll() is None:
        os.killpg(update.pid, signal.SIGKILL)
        update.wait()


def ranks_of(update: subprocess.Popen) -> list[int]:
    return [int(child) for child in Path(f"/proc/{update.pid}/task/{update.pid}/children").read_text().split()] or [update.pid]


def test_a_worker_killed_while_it_holds_the_handle(loading):
    engine, update, checkpoint = loading
    os.kill(engine.get("/pids")[-1], signal.SIGKILL)
    ended = finish(update, 30)
    assert ended.returncode != 0 and "worker" in ended.stderr, ended.stderr
    wait_for(lambda: engine.get("/history")[-1]["error"], "the end of the engine's update", 30)
    engine.expect_update(checkpoint)


def test_a_rank_killed_in_the_middle(loading):
    engine, update, checkpoint = loading
    os.kill(ranks_of(update)[-1], signal.SIGKILL)
    ended = finish(update, 30)
    assert ended.returncode != 0
    engine.expect_update(checkpoint)


def test_workers_of_a_killed_sender_are_freed_by_the_next_update(loading):
    engine, update, checkpoint = loading
    for rank in ranks_of(update):
        os.kill(rank, signal.SIGSTOP)  # so that none of them can tell the worker
    os.killpg(update.pid, signal.SIGKILL)
    update.communicate()
    time.sleep(1.5)  # the bucket has been loaded: the workers wait for a message that nobody will send
    assert engine.get("/history")[-1]["error"] is None
    before = len(engine.get("/history"))
    engine.expect_update(checkpoint)
    history = engine.get("/history")
    assert len(history) == before + 2 and history[-2]["error"], history[-2:]
