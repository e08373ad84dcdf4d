"""GPUs and NCCL that fail, hang and lose their processes at each stage of an update, on software GPUs, with the real workers of published packages. Always:
every rank ends in time with one clear error, nothing is left over, and the next update succeeds."""

import os
import signal

import pytest
from engine_world import SLOW, finish, wait_for
from gpu_world import GpuWorld

# What strikes → the stage, where it is always the same; rules of CKPT_FAKE_CUDA_FAIL for one of two ranks; what the error must say. The first allocation, the first event and the first
# all-gather are those of a new communicator.
ERRORS = {
    "context": ("load", "cuDevicePrimaryCtxRetain:2:1", "cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY"),
    "register": ("load", "cuMemHostRegister:2:1", "cuMemHostRegister: CUDA_ERROR_OUT_OF_MEMORY"),
    "memory-info": ("", "cuMemGetInfo:999:1+", "cuMemGetInfo: CUDA_ERROR_UNKNOWN"),
    "allocate": ("connect", "cuMemAlloc:2:2", "bytes for the slots on GPU-"),
    "ipc-handle": ("connect", "cuIpcGetMemHandle:1:2", "cuIpcGetMemHandle: CUDA_ERROR_INVALID_VALUE"),
    "stream": ("", "cuStreamCreate:999:1", "cuStreamCreate: CUDA_ERROR_UNKNOWN"),
    "copy": ("fill", "cuMemcpyHtoDAsync:700:3", "cuMemcpyHtoDAsync: CUDA_ERROR_ILLEGAL_ADDRESS"),
    "copy-runs": ("", "copy:700:3", "CUDA_ERROR_ILLEGAL_ADDRESS"),
    "event": ("", "cuEventRecord:719:4", "cuEventRecord: CUDA_ERROR_LAUNCH_FAILED"),
    "event-query": ("", "cuEventQuery:214:30", "CUDA_ERROR_ECC_UNCORRECTABLE"),
    "stream-wait": ("exchange", "cuStreamWaitEvent:400:2", "cuStreamWaitEvent: CUDA_ERROR_INVALID_HANDLE"),
    "nccl-init": ("", "ncclCommInitRankConfig:3:1", "ncclCommInitRankConfig: internal error"),
    "nccl-connects": ("", "init:2:1", "unhandled system error"),
    "nccl-warms-up": ("", "all_gather:6:1", "remote process exited or there was a network error"),
    "nccl-call": ("exchange", "ncclAllGather:1:3", "unhandled cuda error"),
    "nccl-runs": ("exchange", "all_gather:6:3", "remote process exited or there was a network error"),
}
# What never ends. The update's own time does. A copy cannot be aborted: memory of that GPU cannot be freed while it runs, and the rank has to be killed.
HANGS = {"nccl-connects": "init:hang:1", "nccl-warms-up": "all_gather:hang:1", "nccl-runs": "all_gather:hang:3"}
HANGS_FOR_EVER = {"copy": "copy:hang:3", "nccl-does-not-abort": "all_gather:hang:3,ncclCommAbort:hang:1"}
TIME = "6s" if SLOW == 1 else "12s"


@pytest.fixture(params=["0.4.2"])
def world(request, tmp_path):
    made = GpuWorld(tmp_path, request.param, 2)
    made.v1 = made.checkpoint("v1", "tiny-qwen3", 1)
    made.v2 = made.checkpoint("v2", "tiny-qwen3", 2)
    yield made
    made.close()


def strike(world, victim, rules, *arguments):
    return world.expect_failure(world.v1, "v1", *arguments, CKPT_FAKE_CUDA_FAIL=rules, CKPT_FAKE_CUDA_FAIL_RANK=str(victim))


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("what", ERRORS)
def test_a_call_fails(world, what, victim):
    stage, rules, text = ERRORS[what]
    error = strike(world, victim, rules)
    assert text in error and f"rank {victim}, {stage}" in error, error
    assert world.left_over() == []
    world.expect_update(world.v2, "v2")


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("what", HANGS)
def test_a_call_never_ends(world, what, victim):
    strike(world, victim, HANGS[what], "--timeout", TIME)
    assert world.left_over() == []
    world.expect_update(world.v2, "v2")


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("what", HANGS_FOR_EVER)
def test_a_gpu_never_ends(world, what, victim):
    """GPU memory of a rank that was killed goes when somebody asks the driver next."""
    strike(world, victim, HANGS_FOR_EVER[what], "--timeout", TIME)
    world.expect_update(world.v2, "v2")


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("point", ["load.before_read:1", "connect.before_handle:1", "fill.before_copy:3", "exchange.before_start:3", "handover.after_ack:2", "release.begin:1"])
def test_a_rank_is_killed(world, point, victim):
    error = world.expect_failure(world.v1, "v1", CKPT_FAULT=f"{point}:kill", CKPT_FAULT_RANK=str(victim))
    assert f"rank {victim}" in error or "worker" in error, error
    world.expect_update(world.v2, "v2")


@pytest.mark.parametrize("world", ["0.1.2", "0.4.2"], indirect=True)  # one of each generation of the protocol
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("load", [1, 3])
def test_a_worker_is_killed_while_it_holds_the_handle(world, load, victim):
    world.engine.control(worker=victim, die_in_load=load)
    error = world.expect_failure(world.v1, "v1")
    assert "worker" in error, error
    assert world.left_over() == []
    world.expect_update(world.v2, "v2")


@pytest.mark.parametrize("load", [1, 3])
def test_a_worker_raises(world, load):
    world.engine.control(worker=1, fail_in_load=load)
    error = world.expect_failure(world.v1, "v1")
    assert "does not fit" in error and "rank 1" in error, error
    assert world.left_over() == []
    world.expect_update(world.v2, "v2")


@pytest.mark.parametrize("world", ["0.2.1", "0.4.2"], indirect=True)  # one of each generation of the protocol
def test_all_ranks_are_killed_while_workers_hold_the_handle(world):
    held = world.path / "held"
    process = world.start_gpu_update(world.v1, "v1", CKPT_FAULT=f"handover.after_ack:2:once={held};sleep=60", CKPT_FAULT_RANK="1")
    wait_for(held.exists, "the hand-over")
    os.killpg(process.pid, signal.SIGKILL)
    finish(process, 10 * SLOW)
    assert world.engine.model()["workers"] == 2  # they would wait for ever
    world.expect_update(world.v2, "v2")


def test_too_little_memory(world):
    error = world.expect_failure(world.v1, "v1", CKPT_FAKE_CUDA_MEMORY="1MiB")
    assert "GPU-" in error, error
    world.expect_update(world.v2, "v2")
