"""The wheel in an environment of its own: it brings its libraries, shows nothing of them, and lives beside others' copies in one process."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from engine_world import BINARY
from expected_shards import expected, reported

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(BINARY).resolve().parents[1]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [REPOSITORY / "scripts/wheel", "--no-build", "--from", BUILD, "--to", out],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheels, tmp_path_factory):
    """The interpreter of a fresh environment with the two wheels and pyzmq."""
    place = tmp_path_factory.mktemp("fresh")
    venv.create(place, symlinks=True)
    site = place / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "--no-deps",
            "--no-index",
            "--target",
            site,
            *wheels,
        ],
        check=True,
        timeout=120,
    )
    for name in ("zmq", "pyzmq.libs"):
        (site / name).symlink_to(
            REPOSITORY / f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages" / name
        )
    return place / "bin/python"


def run(python, code: str, *arguments: object, **environment: str) -> str:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "CKPT_LIBRARY", "LD_LIBRARY_PATH")
    }
    ended = subprocess.run(
        [python, "-c", code, *map(str, arguments)], env=clean | environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_names_say_that_one_wheel_is_for_every_python(wheels):
    names = [wheel.name for wheel in wheels]
    assert re.fullmatch(
        r"ckpt_engine-[\d.]+-py3-none-(manylinux_2_\d+_x86_64\.)?manylinux_2_36_(x86_64|aarch64)\.whl", names[0]
    ), names
    assert re.fullmatch(r"ckpt_engine_compat-[\d.]+-py3-none-any\.whl", names[1]), names
    assert all(int(minor) <= 36 for minor in re.findall(r"manylinux_2_(\d+)", names[0]))


def test_the_library_shows_its_own_functions_alone(wheels, tmp_path):
    zipfile.ZipFile(wheels[0]).extract("ckpt_engine/lib/libckpt.so", tmp_path)
    symbols = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--extern-only", tmp_path / "ckpt_engine/lib/libckpt.so"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = [line.split()[-1] for line in symbols.stdout.splitlines()]
    assert names and [name for name in names if not name.startswith("ckpt_")] == []


def test_it_works_beside_pyzmqs_own_library(python):
    code = """
import ckpt_engine, ckpt_engine.ps, checkpoint_engine.ps, zmq
server = ckpt_engine.ParameterServer()
context = zmq.Context()
reply, request = context.socket(zmq.REP), context.socket(zmq.REQ)
port = reply.bind_to_random_port("tcp://127.0.0.1")
request.connect(f"tcp://127.0.0.1:{port}")
request.send(b"question"); assert reply.recv() == b"question"
server.register_checkpoint("x", named_tensors={"w": b"12345678"})
server.gather_metas("x")
assert checkpoint_engine.ps.ParameterServer is ckpt_engine.ParameterServer
libraries = {line.split()[-1] for line in open("/proc/self/maps") if "libzmq" in line}
print(*libraries)
"""
    mine, theirs = sorted(run(python, code, CKPT_DEVICE="host").split(), key=lambda path: "pyzmq" in path)
    assert "ckpt_engine.libs/libzmq" in mine and "pyzmq.libs/libzmq" in theirs


def test_an_update_by_what_the_wheel_brings(python, world):
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    engine = world.engine(checkpoint, 2, "--load-format", "dummy")
    code = """
import sys, ckpt_engine
server = ckpt_engine.ParameterServer()
server.register_checkpoint("x", directory=sys.argv[2])
server.gather_metas("x")
server.update_engines("x", [sys.argv[1]], inference_parallel_size=2, weight_version="v1")
"""
    program = world.path / "program.py"
    program.write_text(code)
    launch = f"import subprocess; subprocess.run(['{BINARY}', 'launch', '--nproc-per-node', '2', '--quiet', '--', '{python}', '{program}', '{engine.endpoint}', '{checkpoint}'], check=True)"
    run(python, launch, CKPT_DEVICE="host", XDG_RUNTIME_DIR=str(world.runtime))
    assert reported(engine.weights()) == expected(checkpoint, 2)
