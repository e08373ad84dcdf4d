import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from engine_world import World  # noqa: E402


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()
