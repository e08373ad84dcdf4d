"""The program of docs/guide/python.md runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

from engine_world import SLOW
from expected_shards import expected, reported
from ranks import environment

GUIDE = (Path(__file__).resolve().parents[2] / "docs/guide/python.md").read_text()


def test_the_program_of_the_guide(world):
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.S)
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    engine = world.engine(checkpoint, 1, "--load-format", "dummy")
    ended = subprocess.run(
        [sys.executable, "-c", program, engine.endpoint, checkpoint],
        env=environment(world),
        capture_output=True,
        text=True,
        timeout=60 * SLOW,
    )
    assert (ended.returncode, ended.stdout) == (0, "1 rank has updated the engine\n"), ended.stderr
    assert engine.weights()["version"] == "v1"
    assert reported(engine.weights()) == expected(checkpoint, 1)
