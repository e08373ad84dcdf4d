"""`ckpt-engine update` on software GPUs into an engine that has LMDeploy's routes, around the real, unmodified workers of published packages."""

import json
import urllib.request

import pytest
from gpu_world import GpuWorld, key_of_gpu

UPDATED = ["/sleep?level=2", "/wakeup?tags=weights", "update", "/wakeup?tags=kv_cache"]


def told(world) -> dict:
    with urllib.request.urlopen(world.engine.endpoint + "/told", timeout=10) as reply:
        return json.load(reply)


@pytest.fixture(params=[("0.3.4", 1), ("0.4.2", 2)], ids=lambda case: f"{case[0]}-{case[1]}")
def world(request, tmp_path):
    made = GpuWorld(tmp_path, *request.param, kind="lmdeploy")
    yield made
    made.close()


def test_it_sleeps_is_updated_and_is_woken(world):
    world.expect_update(world.checkpoint("v1", "tiny-qwen3", 1), "v1")
    assert told(world) == {"told": UPDATED, "sleeping": []}
    world.engine.kind = "auto"
    world.expect_update(world.checkpoint("v2", "tiny-qwen3", 2), "v2")
    assert told(world) == {"told": UPDATED * 2, "sleeping": []}


def test_a_worker_that_fails_leaves_it_asleep_and_a_complete_update_mends_it(world):
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    world.engine.control(fail_in_load=1)
    error = world.expect_failure(checkpoint, "v1")
    assert "does not fit" in error and "stays asleep: it gave its weights up" in error, error
    assert told(world) == {"told": UPDATED[:3], "sleeping": ["kv_cache"]}
    world.expect_update(checkpoint, "v1")
    assert told(world) == {"told": UPDATED[:3] + UPDATED[2:], "sleeping": []}, "what sleeps is not put to sleep again"


def test_a_worker_without_a_rank_is_named_and_nothing_changes(tmp_path):
    world = GpuWorld(tmp_path, "0.4.2", 1, [key_of_gpu(0), key_of_gpu(1)], kind="lmdeploy")
    try:
        error = world.expect_failure(world.checkpoint("v1", "tiny-qwen3", 1), "v1")
        assert f"workers on devices without a rank: {key_of_gpu(1)}" in error and "asleep" not in error, error
        assert told(world) == {"told": [], "sleeping": []}
    finally:
        world.close()
