"""The package as it lies in the repository, over the library of this build (CKPT_LIBRARY)."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = [str(REPOSITORY / "python"), str(REPOSITORY / "python/compat")]
sys.path[:0] = [*PACKAGES, str(REPOSITORY / "tests/support")]
os.environ["PYTHONPATH"] = os.pathsep.join(PACKAGES)  # of the processes that tests start

from engine_world import World  # noqa: E402


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()
