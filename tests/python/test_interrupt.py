"""Ctrl-C at any moment: the call ends soon, everybody is told, and what was there is whole."""

import json
import os
import signal
import subprocess
import sys

import pytest
from engine_world import SLOW, finish, wait_for
from expected_shards import expected, reported
from ranks import environment, free_port, left_over, run, start

PROGRAM = """
from ckpt_engine import ParameterServer
from script_parts import *
import time, threading
endpoint, directory, where, begun = sys.argv[1:]
ps = ParameterServer()
def hang(paths):
    open(begun, "w").close()
    time.sleep(3600)
try:
    if where == "join":
        threading.Timer(0.3, lambda: open(begun, "w").close()).start()
        ps.init_process_group()
    ps.register_checkpoint("x", files=files_of(directory))
    ps.gather_metas("x")
    ps.update("x", hang)
except KeyboardInterrupt:
    tell("interrupted")
if where == "update":
    ps.update("x", ask_engines([endpoint], 1, "v1"))
    tell("updated")
"""


def interrupted(world, begun, num_ranks, *command):
    """How a rank 0 of `num_ranks` ended that got Ctrl-C when the file `begun` was there."""
    place = {"RANK": "0", "WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment(world) | place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(begun.exists, "the call to begin")
    process.send_signal(signal.SIGINT)
    return finish(process, 30 * SLOW)


@pytest.mark.parametrize("where", ["join", "update"])
def test_ctrl_c_ends_the_call_and_no_more(world, where):
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    engine = world.engine(checkpoint, 1, "--load-format", "dummy")
    program, begun = world.path / "program.py", world.path / "begun"
    program.write_text(PROGRAM)
    ended = interrupted(world, begun, 2 if where == "join" else 1, program, engine.endpoint, checkpoint, where, begun)
    assert ended.returncode == 0, ended.stderr
    told = [json.loads(line)[1] for line in ended.stdout.splitlines()]
    if where == "join":
        assert told == ["interrupted"]
    else:
        assert told == ["interrupted", "updated"]
        assert reported(engine.weights()) == expected(checkpoint, 1)
    assert left_over(world) == []


def test_a_script_that_does_not_catch_it_ends_as_python_does(world):
    program, begun = world.path / "program.py", world.path / "begun"
    program.write_text(
        f"from ckpt_engine import ParameterServer\nps = ParameterServer()\nopen({str(begun)!r}, 'w').close()\nps.init_process_group()\n"
    )
    ended = interrupted(world, begun, 2, program)
    assert ended.returncode == -signal.SIGINT and "KeyboardInterrupt" in ended.stderr


def test_ctrl_c_on_one_rank_ends_the_update_on_all(world):
    program = """
from ckpt_engine import ParameterServer
from script_parts import *
import time
endpoint, directory, begun = sys.argv[1:]
ps = ParameterServer()
ps.register_checkpoint("x", files=files_of(directory))
ps.gather_metas("x")
def hang(paths):
    if RANK == 0:
        with open(begun + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(begun + ".new", begun)
        time.sleep(3600)
try:
    ps.update("x", hang)
except KeyboardInterrupt:
    tell("interrupted")
except Exception as error:
    tell(str(error))
ps.update("x", ask_engines([endpoint], 2, "v1"))
"""
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    engine = world.engine(checkpoint, 2, "--load-format", "dummy")
    begun = world.path / "begun"
    process = start(world, 2, program, engine.endpoint, checkpoint, begun)
    wait_for(begun.exists, "the call to begin")
    os.kill(int(begun.read_text()), signal.SIGINT)
    ended = finish(process, 60 * SLOW)
    assert ended.returncode == 0, ended.stderr
    told = dict(json.loads(line) for line in ended.stdout.splitlines())
    assert told[0] == "interrupted"
    assert told[1].startswith("cancelled: rank 0") and "KeyboardInterrupt" in told[1], told
    assert reported(engine.weights()) == expected(checkpoint, 2)


def test_ctrl_c_ends_the_wait_for_a_rank_that_died(world):
    program = """
import signal, threading, time
import ckpt_engine.distributed as dist
from ckpt_engine import ParameterServer
from script_parts import *
ps = ParameterServer()
ps.init_process_group()
if RANK == 1:
    os._exit(0)
time.sleep(0.5)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    dist.barrier()
except KeyboardInterrupt:
    tell("interrupted")
"""
    assert run(world, 2, program)[0] == ["interrupted"]
