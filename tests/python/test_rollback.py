"""Going back to a version that memory keeps: engines whose workers load in place, and what the rank says when it cannot."""

import hashlib
import json

import pytest
from gpu_world import GpuWorld, HostWorld, digests
from ranks import run

# As trainings go: one name for every step. What a step was made of is gone when it has been loaded.
PROGRAM = """
import hashlib, shutil, urllib.request
from ckpt_engine import ParameterServer, errors
from script_parts import *

endpoint, kind, *directories = sys.argv[1:]
ps = ParameterServer()

def control(**settings):
    if RANK == 0:
        request = urllib.request.Request(endpoint + "/control", json.dumps(settings).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()

def digest(tensors):
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()

def model():
    with urllib.request.urlopen(endpoint + "/model", timeout=10) as reply:
        return digest(json.load(reply)["tensors"])

def register(directory):
    ps.register_checkpoint("step", directory=directory)
    ps.gather_metas("step")

def update(version):
    try:
        report = ps.update_engines("step", [endpoint], engine=kind, inference_parallel_size=WORLD_SIZE, weight_version=version)
        return [report["version"], report["kept_versions"], report["pool_arenas_made"]]
    except errors.CkptError as error:
        return str(error)
    finally:
        ps.unregister_checkpoint("step")

def back():
    report = ps.rollback()
    ps.store_based_barrier()
    return [report["version"], report["pool_arenas_made"], model() if RANK == 0 else None]

told = []
for number, directory in enumerate(directories[:2], 1):
    register(directory)
    told.append(update(f"v{number}"))
register(directories[2])
ps.store_based_barrier()
if RANK == 0:
    for directory in directories[:2]:
        shutil.rmtree(directory)
control(fail_in_load=2)
told += [update("v3"), back()]
register(directories[2])
told += [update("v3"), back(), failure(ps.rollback)]
tell(told)
"""


@pytest.mark.parametrize("engine", ["0.1.2", "0.4.2", "ours", "ours in host memory"])
def test_the_version_before_comes_back_bit_for_bit(tmp_path, engine):
    in_host_memory = engine == "ours in host memory"
    world = HostWorld(tmp_path, "ours", 2) if in_host_memory else GpuWorld(tmp_path, engine, 2, kind="vllm" if engine == "ours" else "")
    try:
        checkpoints = [world.checkpoint(f"v{number}", "tiny-qwen3", number) for number in (1, 2, 3)]
        second = hashlib.sha256(json.dumps([digests(checkpoints[1])] * 2, sort_keys=True).encode()).hexdigest()
        told = run(world, 2, PROGRAM, world.engine.endpoint, world.engine.kind, *checkpoints)
    finally:
        world.close()
    for rank, ((first, next_, failed, back, third, back_again, refused),) in enumerate(told):
        assert (first, next_, third) == (["v1", 0, 1], ["v2", 1, 2], ["v3", 1, 3])  # the memory of the one that failed had been given back
        assert "hand-over" in failed
        assert [back, back_again] == [["v2", made, second if rank == 0 else None] for made in (2, 3)]
        assert refused[0] == "FailedPreconditionError" and "checkpoint step, the version before, is not" in refused[1]


def test_memory_that_is_short_costs_the_version_before_and_not_the_update(tmp_path):
    program = """
import resource
from ckpt_engine import ParameterServer
from script_parts import *

endpoint, kind = sys.argv[1:]
ps = ParameterServer()
tensors = {f"w{number}": bytes(4 << 20) for number in range(32)}

def step(version):
    ps.register_checkpoint("step", named_tensors=tensors)
    ps.gather_metas("step")
    report = ps.update_engines("step", [endpoint], engine=kind, weight_version=version)
    ps.unregister_checkpoint("step", force=version == "v3")
    return [report["kept_versions"], report["pool_arenas_made"], report["notes"]]

told = [step("v1")]
size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), resource.RLIM_INFINITY))
told.append(step("v2"))
told.append(failure(ps.rollback))
size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
told.append(step("v3"))
told.append(failure(ps.rollback))
told.append(size - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE"))
tell(told)
"""
    world = HostWorld(tmp_path, "ours", 1)
    try:
        (((first, second, refused, third, forgotten, given_back),),) = run(world, 1, program, world.engine.endpoint, world.engine.kind)
    finally:
        world.close()
    assert first[:2] == [0, 1]
    assert second[:2] == [0, 1] and "no earlier version is kept: memory is scarce" in second[2]
    assert not any("earlier version" in note for note in first[2])
    assert refused[0] == "FailedPreconditionError" and "is not kept any more: memory is scarce" in refused[1]
    assert third[:2] == [0, 1]
    assert forgotten[0] == "FailedPreconditionError" and "is not kept any more: memory is scarce" in forgotten[1]
    assert given_back >= 100 << 20, "of 128 MiB, which no name and no version needs after unregister_checkpoint(force=True)"
