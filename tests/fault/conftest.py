import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from engine_world import World  # noqa: E402

GPUS = os.environ.get("CKPT_DEVICE") == "cuda"  # the same tests with ranks on software GPUs: fault.matrix_gpus
if GPUS:
    from gpu_world import RanksOnGpus  # noqa: E402
from expected_shards import expected  # noqa: E402


@pytest.fixture
def world(tmp_path):
    made = RanksOnGpus(tmp_path) if GPUS else World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def loaded(world):
    """One engine of two workers that serves v1. `known`: digests of both versions."""
    world.v1 = world.checkpoint("v1", "tiny-qwen3", 1)
    world.v2 = world.checkpoint("v2", "tiny-qwen3", 2)
    world.known = {"v1": expected(world.v1, 2), "v2": expected(world.v2, 2)}
    world.engine(world.v1, 2)
    assert world.update(world.v1, "v1", "--engine", "ckpt", ranks=2).returncode == 0
    return world
