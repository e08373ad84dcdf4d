"""Runs a Python program on several ranks, started by `ckpt-engine launch`."""

import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

from engine_world import BINARY, SLOW, World, finish

HERE = str(Path(__file__).resolve().parent)


def free_port() -> int:
    """A port that is free, and the one above it, where the store listens."""
    while True:
        port = random.randrange(20000, 32000, 2)
        try:
            for number in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue


def environment(world: World) -> dict[str, str]:
    path = os.pathsep.join([HERE, os.environ["PYTHONPATH"]])
    return world.environment | {
        "PYTHONPATH": path,
        "CKPT_DEVICE": world.environment.get("CKPT_DEVICE", "host"),
        "CKPT_BUCKET_SIZE": "256KiB",
        "CKPT_STRIPE_SIZE": "64KiB",
    }


def start(world: World, ranks: int, program: str, *arguments: object) -> subprocess.Popen:
    file = world.path / f"program-{len(list(world.path.glob('program-*')))}.py"
    file.write_text(program)
    command = [
        BINARY,
        "launch",
        "--nproc-per-node",
        str(ranks),
        "--master-port",
        str(free_port()),
        "--quiet",
        "--",
        sys.executable,
        str(file),
        *map(str, arguments),
    ]
    return subprocess.Popen(
        command,
        env=environment(world),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(world: World, ranks: int, program: str, *arguments: object, limit_s: float = 60) -> list[list]:
    """What each rank told, in order."""
    ended = finish(start(world, ranks, program, *arguments), limit_s * SLOW)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told: list[list] = [[] for _ in range(ranks)]
    for line in ended.stdout.splitlines():
        rank, what = json.loads(line)
        told[rank].append(what)
    return told


def left_over(world: World) -> list[str]:
    """What `World.left_over` says, but for the journal: it remembers for a minute that an engine which a script asked, or did not, may still come."""
    return [path for path in world.left_over() if "/journal/" not in path]
