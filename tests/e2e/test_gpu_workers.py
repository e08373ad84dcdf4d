"""`ckpt-engine update` on software GPUs into the real, unmodified workers of published packages: what an unmodified engine gets, bit for bit."""

import json

import pytest
from engine_world import finish, wait_for
from gpu_world import WORKERS, GpuWorld, digests

DIALECTS = {"0.1.2": "1", "0.2.1": "1", "0.3.4": "1", "0.4.2": "2"}
SGLANG = [version for version, (kind, _) in WORKERS.items() if kind == "sglang"]  # vLLM's worker loads its draft model in the same session


def on_one_and_two_gpus(versions):
    return {"params": [(version, num_gpus) for version in versions for num_gpus in (1, 2)], "ids": lambda case: f"{case[0]}-{case[1]}"}


@pytest.fixture(**on_one_and_two_gpus(WORKERS))
def world(request, tmp_path):
    made = GpuWorld(tmp_path, *request.param)
    made.dialect = DIALECTS[request.param[0]]
    yield made
    made.close()


@pytest.fixture(**on_one_and_two_gpus(SGLANG))
def sglang(request, tmp_path):
    made = GpuWorld(tmp_path, *request.param)
    made.dialect = DIALECTS[request.param[0]]
    yield made
    made.close()


@pytest.fixture(params=WORKERS)
def two_gpus(request, tmp_path):
    made = GpuWorld(tmp_path, request.param, 2)
    yield made
    made.close()


def test_two_updates(world):
    first = world.checkpoint("v1", "tiny-qwen3", 1)
    second = world.checkpoint("v2", "tiny-qwen3", 2)
    world.expect_update(first, "v1")
    remembered = world.runtime / "ckpt-engine/dialects"
    assert remembered.read_text() == f"{world.dialect} {world.engine.kind} {world.engine.endpoint}\n"
    world.expect_update(second, "v2")  # now the dialect is known
    remembered.write_text(f"{'2' if world.dialect == '1' else '1'} {world.engine.kind} {world.engine.endpoint}\n")  # as of an engine that was here before
    world.expect_update(first, "v1")
    assert remembered.read_text() == f"{world.dialect} {world.engine.kind} {world.engine.endpoint}\n"


@pytest.mark.parametrize("how", ["slots made again", "slots kept", "dialect given", "wrong dialect known"])
def test_workers_that_come_again_for_a_draft_model(sglang, how):
    checkpoint = sglang.checkpoint("v1", "tiny-qwen3", 1)
    once = json.loads(sglang.expect_update(checkpoint, "v1", "--json").stdout)
    arguments = {"slots kept": ["--keep-slots"], "dialect given": ["--dialect", sglang.dialect]}.get(how, [])
    for sessions in (2, 3):
        if how == "wrong dialect known":
            other = "2" if sglang.dialect == "1" else "1"
            (sglang.runtime / "ckpt-engine/dialects").write_text(f"{other} {sglang.engine.kind} {sglang.engine.endpoint}\n")
        report = json.loads(sglang.expect_update(checkpoint, "v1", "--json", *arguments, sessions=sessions).stdout)
        assert any(f"workers came {sessions} times" in note for note in report["notes"]), report
        assert report["stages"]["hand-over"]["bytes"] == sessions * once["stages"]["hand-over"]["bytes"]
        assert sglang.journal() == []


@pytest.mark.parametrize("how", ["bucket", "hook"])
def test_a_failed_update_is_taken_back(two_gpus, how):
    """An unmodified engine has a mixture then: it gets the version before, whole, and the command fails and says so."""
    first = two_gpus.checkpoint("v1", "tiny-qwen3", 1)
    second = two_gpus.checkpoint("v2", "tiny-qwen3", 2)
    two_gpus.expect_update(first, "v1")
    two_gpus.engine.control(**({"fail_in_load": 2} if how == "bucket" else {"fail_in_hook": True}))
    error = two_gpus.expect_failure(second, "v2", "--rollback-path", str(first))
    assert f"the engines are back at version v1, from {first}" in error, error
    assert two_gpus.engine.model()["tensors"] == [digests(first)] * two_gpus.num_gpus
    two_gpus.expect_update(second, "v2")


def test_a_way_back_that_fails_too_is_told(tmp_path):
    sglang = GpuWorld(tmp_path, SGLANG[-1], 1)
    first = sglang.checkpoint("v1", "tiny-qwen3", 1)
    second = sglang.checkpoint("v2", "tiny-qwen3", 2)
    sglang.engine.control(load_seconds=9)
    update = sglang.start_gpu_update(second, "v2", "--rollback-path", str(first), "--ack-timeout", "1s", "--timeout", "6s")
    ended = finish(update, 60)  # the worker is still in its loader when the ranks come again
    assert "the engines may hold a mixture: going back to version v1 failed" in ended.stderr, ended.stderr
    sglang.close()


def test_a_draft_model_that_does_not_load(sglang):
    checkpoint = sglang.checkpoint("v1", "tiny-qwen3", 1)
    sglang.engine.control(sessions=2, fail_in_draft=True)
    error = sglang.expect_failure(checkpoint, "v1")
    assert "session 2 of the engine's update call" in error, error
    assert sglang.left_over() == []
    sglang.expect_update(checkpoint, "v1")


@pytest.mark.parametrize("worker", [0, 1])
def test_a_hook_that_raises_leaves_nothing(sglang, worker):
    """The engine's answer says that no worker comes again, to all ranks."""
    if worker >= sglang.num_gpus:
        worker = 0
    checkpoint = sglang.checkpoint("v1", "tiny-qwen3", 1)
    for _ in range(2):  # the dialect is found out, and known
        sglang.engine.control(fail_in_hook=True, worker=worker)
        sglang.expect_failure(checkpoint, "v1")
        assert sglang.left_over() == [] and sglang.journal() == []
        sglang.expect_update(checkpoint, "v1")


def test_workers_that_come_again_and_again(sglang):
    checkpoint = sglang.checkpoint("v1", "tiny-qwen3", 1)
    sglang.engine.control(sessions=100)
    error = sglang.expect_failure(checkpoint, "v1")
    assert "the workers come again after 8 sessions in one update call" in error, error
    wait_for(lambda: sglang.engine.model()["workers"] == 0, "the workers to be free")
    sglang.expect_update(checkpoint, "v1")
