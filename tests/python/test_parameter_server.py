"""ParameterServer on real ranks, into real engines, in host memory: every byte, and every refusal."""

import json
import pickle
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from ckpt_engine import data_types  # noqa: F401 (what pickled metas name)
from engine_world import BINARY
from expected_shards import expected, reported
from ranks import left_over, run

# As scripts for the package checkpoint-engine are written.
SCRIPT = """
import pickle, sys, os
import checkpoint_engine.distributed as dist
from checkpoint_engine.ps import ParameterServer
from script_parts import *

kind, tensor_parallel, endpoints, saved, *directories = sys.argv[1:]
tensor_parallel, endpoints = int(tensor_parallel), endpoints.split(",")
dist.use_backend(None)
ps = ParameterServer(auto_pg=True)
for step, directory in enumerate(directories):
    name = f"step-{step}"
    ps.init_process_group()
    dist.barrier()
    files, tensors = files_of(directory), {}
    if kind == "tensors":
        files, tensors = [], named_tensors_of(directory)
    if kind == "both":  # all on rank 0: one file as it is, one as tensors
        first, second = sorted(Path(directory).glob("*.safetensors"))
        files, tensors = ([first], dict(tensors_of(second))) if RANK == 0 else (None, None)
    ps.register_checkpoint(name, files=files, named_tensors=tensors)
    del tensors
    dist.barrier()
    ps.gather_metas(name)
    if RANK == 0:
        with open(saved, "wb") as file:
            pickle.dump(ps.get_metas(), file)
    report = ps.update(name, ask_engines(endpoints, tensor_parallel, os.path.basename(directory)))
    ps.unregister_checkpoint(name)
    tell([report["ranks"], dist.is_initialized()])
"""


@pytest.mark.parametrize("kind, ranks", [("files", 2), ("tensors", 2), ("both", 2), ("tensors", 4)])
def test_two_steps_of_a_script(world, kind, ranks):
    checkpoints = {version: world.checkpoint(version, "tiny-qwen3", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engines = [world.engine(checkpoints["v1"], 2, "--load-format", "dummy") for _ in range(ranks // 2)]
    saved = world.path / "metas.pickle"
    for version, path in checkpoints.items():
        told = run(world, ranks, SCRIPT, kind, 2, ",".join(engine.endpoint for engine in engines), saved, path)
        assert told == [[[ranks, True]]] * ranks
        for engine in engines:
            weights = engine.weights()
            assert (weights["version"], weights["state"]) == (version, "serving")
            assert reported(weights) == expected(path, 2)
    metas = pickle.loads(saved.read_bytes())
    held = [sum(len(segment.metas) for segment in metas[rank].memory_buffer_metas_list) for rank in sorted(metas)]
    assert sum(held) == len({name for rank in expected(path, 1) for name in rank})
    assert world.left_over() == []


def test_many_steps_in_one_process_make_nothing_per_step(world):
    program = """
import threading
from checkpoint_engine import ParameterServer
from script_parts import *
ps, counts, memory = ParameterServer(), [], []
for step in range(6):
    directory = sys.argv[2 + step % 2]
    ps.register_checkpoint("step", named_tensors=named_tensors_of(directory), use_shared_memory_pool=True)
    ps.gather_metas("step")
    report = ps.update("step", ask_engines([sys.argv[1]], 2, f"v{step}"))
    memory.append([report["kept_versions"], report["pool_arenas_made"]])
    ps.unregister_checkpoint("step")
    counts.append([len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), sorted(thread.native_id for thread in threading.enumerate())])
tell([counts, memory])
ps.rollback(ask_engines([sys.argv[1]], 2, "v4 again"))
"""
    checkpoints = [world.checkpoint(version, "tiny-qwen3", seed) for version, seed in (("v1", 1), ("v2", 2))]
    engine = world.engine(checkpoints[0], 2)
    for ((counts, memory),) in run(world, 2, program, engine.endpoint, *checkpoints):
        assert counts[2] == counts[5], counts
        assert memory == [[0, 1]] + [[1, 2]] * 5  # two pieces of memory in turn, one of them with the version before
    assert engine.weights()["version"] == "v4 again"  # though its name is that of the last step, and nobody's any more
    assert reported(engine.weights()) == expected(checkpoints[0], 2)


def test_going_back_to_the_version_before(world):
    program = """
from ckpt_engine import ParameterServer, errors
from script_parts import *
ps = ParameterServer(keep_versions=0)

def refused(call):
    try:
        call()
    except errors.FailedPreconditionError as error:
        return str(error)

def nobody(addresses):
    raise RuntimeError("no engine was asked")

engine = sys.argv[1]
told = [refused(lambda: ps.rollback(nobody))]
for version, directory in zip(("v1", "v2", "v3"), sys.argv[2:]):
    ps.register_checkpoint(version, directory=directory)
    ps.gather_metas(version)
for version in ("v1", "v2"):
    ps.update(version, ask_engines([engine], 2, version))
try:
    ps.update("v3", nobody)
except errors.RemoteError as error:
    told.append("no engine was asked" in str(error))
ps.rollback(ask_engines([engine], 2, "v2 again"))  # v3 failed: v2 is the version before
ps.rollback(ask_engines([engine], 2, "v1 again"))
ps.unregister_checkpoint("v1")
told.append(refused(lambda: ps.rollback(nobody)))
ps.update("v3", ask_engines([engine], 2, "v3"))
told.append(refused(lambda: ps.rollback(nobody)))
tell(told)
"""
    checkpoints = [world.checkpoint(f"v{number}", "tiny-qwen3", number) for number in (1, 2, 3)]
    engine = world.engine(checkpoints[0], 2)
    for (told,) in run(world, 2, program, engine.endpoint, *checkpoints):
        assert "no version before" in told[0] and told[1] is True and "no version before" in told[2]
        assert "checkpoint v1, the version before, is not registered any more" in told[3]
    assert engine.weights()["version"] == "v3"


def test_a_directory_is_striped_and_engines_are_asked_by_the_library(world):
    program = """
from ckpt_engine import ParameterServer
from script_parts import *
stages = set()
ps = ParameterServer(progress=lambda stage, done, total: stages.add(stage))
ps.register_checkpoint("x", directory=sys.argv[2], verify=True)
ps.gather_metas("x")
report = ps.update_engines("x", [sys.argv[1]], inference_parallel_size=2, weight_version="v1")
tell([report["verified"], ps.rank, ps.world_size, ps.device_uuid.startswith("HOST-"), len(ps.get_metas()), sorted(stages)])
if RANK == 0:
    open(sys.argv[3], "w").write(ps.metas_json())
"""
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    engine = world.engine(checkpoint, 2, "--load-format", "dummy")
    document = world.path / "metas.json"
    for rank, (told,) in enumerate(run(world, 2, program, engine.endpoint, checkpoint, document)):
        assert told[:5] == [True, rank, 2, True, 2] and set(told[5]) & {"load", "fill", "hand-over"}
    assert reported(engine.weights()) == expected(checkpoint, 2)
    assert json.loads(document.read_text())["layout"]["packing"] == "striped"
    subprocess.run([BINARY, "plan", "--load-metas-file", document], check=True, capture_output=True, timeout=30)


def test_chosen_ranks_get_the_weights_and_the_others_send(world):
    program = """
from ckpt_engine import ParameterServer
from script_parts import *
endpoints, v1, v2 = sys.argv[1].split(","), *sys.argv[2:]
asked = []

def ask(version):
    call = ask_engines(endpoints, 2, version)

    def request(addresses):
        asked.append([version, [bool(address) for _, address in addresses]])
        call(addresses)
    return request

ps = ParameterServer()
for version, directory, ranks in (("v1", v1, None), ("v2", v2, [3, 2]), ("v2", v2, [2, 3])):
    ps.register_checkpoint(version, files=files_of(directory))
    ps.gather_metas(version)
    ps.update(version, ask(version), ranks=ranks)
    ps.unregister_checkpoint(version)
ps.load_metas(ps.get_metas())
tell(asked)
tell(failure(ps.update, "v2", ask("v3")))
"""
    checkpoints = [world.checkpoint(version, "tiny-qwen3", seed) for version, seed in (("v1", 1), ("v2", 2))]
    engines = [world.engine(checkpoints[0], 2, "--load-format", "dummy") for _ in range(2)]
    told = run(world, 4, program, ",".join(engine.endpoint for engine in engines), *checkpoints)
    chosen = [["v2", [False, False, True, True]]] * 2
    assert [asked for asked, _ in told] == [[["v1", [True] * 4]] + (chosen if rank >= 2 else []) for rank in range(4)]
    assert all(kind == "UnsupportedError" and "metas of another job" in text for _, (kind, text) in told)
    for engine, version, path in zip(engines, ("v1", "v2"), checkpoints):
        assert engine.weights()["version"] == version
        assert reported(engine.weights()) == expected(path, 2)


def test_refusals_name_what_is_wrong_and_change_nothing(world):
    program = """
from ckpt_engine import ParameterServer
from script_parts import *
endpoint, directory = sys.argv[1:]
ask = ask_engines([endpoint], 2, "v1")
ps = ParameterServer()
tell(failure(ps.register_checkpoint, "x", files=[f"/nowhere-{RANK}.safetensors"]))
ps.register_checkpoint("x", files=files_of(directory))
tell(failure(ps.register_checkpoint, "x", named_tensors={"other": b"1"}))
tell(failure(ps.update, "x", ask))
ps.gather_metas("x")
tell(failure(ps.update, "y", ask))
tell(failure(ps.update, "x", ask, ranks=[2]))
tell(failure(ps.update, "x", ask, ranks=[RANK]))
tell(failure(ps.update, "x", None))

def refuse(paths):
    if RANK == 0:
        raise KeyError("not on a Sunday")
tell(failure(ps.update, "x", refuse))

def nested(paths):
    if RANK == 1:
        ps.store_based_barrier()
tell(failure(ps.update, "x", nested))
tell(failure(ps.update, "x", ask_engines([endpoint + "0"], 2)))
ps.update("x", ask, ranks=[])
ps.unregister_checkpoint("never")
ps.unregister_checkpoint("x")
tell(failure(ps.update, "x", ask))
ps.close()
tell(failure(ps.gather_metas, "x"))
"""
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    engine = world.engine(checkpoint, 2, "--load-format", "dummy")
    for rank, told in enumerate(run(world, 2, program, engine.endpoint, checkpoint)):
        assert [kind for kind, _ in told] == [
            "NotFoundError",
            "AlreadyExistsError",
            "FailedPreconditionError",
            "NotFoundError",
            "InvalidArgumentError",
            "InvalidArgumentError",
            "InvalidArgumentError",
            "RemoteError",
            "RemoteError",
            "RemoteError",
            "NotFoundError",
            "FailedPreconditionError",
        ], told
        texts = [text for _, text in told]
        assert f"/nowhere-{rank}.safetensors" in texts[0]
        assert "rank 2 is to get the weights, and there are 2 ranks" in texts[4]
        assert "do not agree on whose workers get the weights" in texts[5]
        assert "not on a Sunday" in texts[7] and "rank 0" in texts[7]
        assert "make one call at a time" in texts[8] and "rank 1" in texts[8]
        assert "this ParameterServer is closed" in texts[11]
    assert engine.weights()["version"] == "v1"
    assert reported(engine.weights()) == expected(checkpoint, 2)
    assert left_over(world) == []


def test_a_rank_that_does_not_come_is_named(world):
    program = """
from datetime import timedelta
import ckpt_engine.distributed as dist
from ckpt_engine import ParameterServer
from script_parts import *
tell(failure(dist.barrier))
ps = ParameterServer(auto_pg=False)
tell(failure(ps.gather_metas, "x"))
ps.init_process_group()
ps.init_process_group()
if RANK == 0:
    tell(failure(dist.barrier, timeout=timedelta(seconds=0.5)))
else:
    import time; time.sleep(1.5)
"""
    told = run(world, 2, program)
    assert [kind for kind, _ in told[0]] == [
        "FailedPreconditionError",
        "FailedPreconditionError",
        "DeadlineExceededError",
    ]
    assert "rank 1" in told[0][2][1] or "ranks 1" in told[0][2][1]


def test_a_rank_that_dies_is_named(world):
    program = """
from datetime import timedelta
import ckpt_engine.distributed as dist
from ckpt_engine import ParameterServer
from script_parts import *
ps = ParameterServer()
ps.init_process_group()
if RANK == 1:
    os._exit(0)
tell(failure(dist.barrier, timeout=timedelta(seconds=5)))
"""
    ((kind, text),), _ = run(world, 2, program)
    # Where the loss is known when the barrier begins, it waits for the rank to be started again.
    assert kind in ("UnavailableError", "DeadlineExceededError") and "rank 1" in text


def test_the_shared_memory_pool_has_one_user(world):
    program = """
from ckpt_engine import ParameterServer
from script_parts import *
ps = ParameterServer()
ps.register_checkpoint("a", named_tensors={"w": b"1"}, use_shared_memory_pool=True)
tell(failure(ps.register_checkpoint, "b", named_tensors={"w": b"2"}, use_shared_memory_pool=True))
ps.register_checkpoint("c", named_tensors={"w": b"3"})
ps.unregister_checkpoint("a")
ps.register_checkpoint("b", named_tensors={"w": b"2"}, use_shared_memory_pool=True)
ps.unregister_checkpoint("b", force=True)
"""
    (((kind, text),),) = run(world, 1, program)
    assert kind == "FailedPreconditionError" and "checkpoint a uses the shared memory pool" in text


def test_files_in_memory_are_used_in_place_and_stay(world):
    program = """
from ckpt_engine import ParameterServer
from script_parts import *
ps = ParameterServer()
for arguments in ({}, {"use_inplace_pin_memory": False}, {"use_shared_memory_pool": True}):
    ps.register_checkpoint("x", files=[sys.argv[1]], **arguments)
    ps.gather_metas("x")
    tell([segment["path"] for rank in json.loads(ps.metas_json())["ranks"] for segment in rank["segments"]])
    ps.unregister_checkpoint("x")
"""
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = shutil.copy(next(checkpoint.glob("*.safetensors")), folder)
        ((in_place, copied, shared),) = run(world, 1, program, file)
        assert file in in_place and file not in copied + shared
        assert Path(file).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "rank=-1",
        "world_size=0",
        "rank=2, world_size=2",
        "gpu_count=0",
        "mem_fraction=0.0",
        "mem_fraction=1.5",
        "settings={'bucket_size': 'many'}",
    ],
)
def test_arguments_that_make_no_sense_are_refused(world, arguments):
    program = f"""
from ckpt_engine import ParameterServer
from script_parts import *
tell(failure(lambda: ParameterServer({arguments})))
"""
    (((kind, _),),) = run(world, 1, program)
    assert kind == "InvalidArgumentError"
