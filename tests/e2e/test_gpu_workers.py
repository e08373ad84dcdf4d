"""`ckpt-engine update` on software GPUs into the real, unmodified workers of published packages: what an unmodified engine gets, bit for bit."""

import pytest
from gpu_world import WORKERS, GpuWorld


@pytest.fixture(params=[(version, num_gpus) for version in WORKERS for num_gpus in (1, 2)], ids=lambda case: f"{case[0]}-{case[1]}")
def world(request, tmp_path):
    made = GpuWorld(tmp_path, *request.param)
    yield made
    made.close()


def test_two_updates(world):
    first = world.checkpoint("v1", "tiny-qwen3", 1)
    second = world.checkpoint("v2", "tiny-qwen3", 2)
    world.expect_update(first, "v1")
    world.expect_update(second, "v2")
