"""Every stage times every process that can die or stop in it. Always: everyone ends in time with one clear error, nothing is left over, the engines
serve a whole version (the old one before the commit), and the next update succeeds."""

import os
import signal

import pytest
from engine_world import SLOW, children, finish, one_error, wait_for
from expected_shards import expected, reported

# Stage → the fault point of a rank that lies in it. The nth pass is chosen to be in the middle where there are several.
RANK_POINTS = {
    "load": "load.before_read:2",
    "gather": "gather.begin:1",
    "plan": "plan.begin:1",
    "connect": "connect.before_handle:1",
    "fill": "fill.before_copy:3",
    "exchange": "exchange.before_start:3",
    "hand-over": "handover.after_ack:2",
    "release": "release.begin:1",
    "commit": "commit.begin:1",
}
# Stage → the fault point of an engine's worker.
WORKER_POINTS = {"hand-over": "receiver.before_apply:2", "release": "receiver.before_prepare:1", "commit": "receiver.before_finish:1"}
LIMIT_S = 14


def update(world, checkpoint, version, **environment):
    return world.update(checkpoint, version, "--engine", "ckpt", ranks=2, limit_s=LIMIT_S * 2, **environment)


def expect_whole(world, versions, cleaned=True):
    """Each engine serves one of `versions`, with all of its bytes, and takes the next update."""
    for engine in world.engines:
        weights = wait_for(lambda: (found := engine.weights())["state"] == "serving" and found, "the engine to serve")
        assert weights["version"] in versions, weights["version"]
        assert reported(weights) == world.known[weights["version"]]
    if cleaned:
        if hasattr(world, "free_what_the_dead_had"):
            world.free_what_the_dead_had()
        assert world.left_over() == []
    again = update(world, world.v2, "v2")
    assert again.returncode == 0, again.stderr
    for engine in world.engines:
        assert reported(engine.weights()) == world.known["v2"]
    assert world.left_over() == []


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("action", ["kill", "stop", "error"])
@pytest.mark.parametrize("stage", RANK_POINTS)
def test_a_rank(loaded, stage, action, victim):
    ended = update(loaded, loaded.v2, "v2", CKPT_FAULT=f"{RANK_POINTS[stage]}:{action}", CKPT_FAULT_RANK=str(victim))
    error = one_error(ended)
    assert f"rank {victim}" in error or "worker" in error or "engine" in error, error
    if action == "error":
        assert "injected fault" in error and f"{stage}: " in error, error
    expect_whole(loaded, {"v1", "v2"} if stage == "commit" else {"v1"})


@pytest.mark.parametrize("action", ["kill", "stop"])
@pytest.mark.parametrize("stage", WORKER_POINTS)
def test_a_worker(world, stage, action):
    world.v1 = world.checkpoint("v1", "tiny-qwen3", 1)
    world.v2 = world.checkpoint("v2", "tiny-qwen3", 2)
    world.known = {"v1": expected(world.v1, 2), "v2": expected(world.v2, 2)}
    # The first update passes the point `passes` times; the fault strikes once, in the second one.
    once = world.path / "struck"
    point, nth = WORKER_POINTS[stage].split(":")
    passes = {"hand-over": 11, "release": 1, "commit": 1}[stage]
    world.engine(world.v1, 2, CKPT_FAULT=f"{point}:{passes + int(nth)}:once={once};{action}", CKPT_FAULT_RANK="1")
    assert update(world, world.v1, "v1").returncode == 0
    ended = update(world, world.v2, "v2")
    assert once.exists(), "the fault did not strike"
    one_error(ended)
    expect_whole(world, {"v1", "v2"} if stage == "commit" else {"v1"})


def held_in_hand_over(world):
    """An update to v2 in the middle of its hand-over, where rank 1 stays for some seconds."""
    held = world.path / "held"
    process = world.start_update(world.v2, "v2", "--engine", "ckpt", ranks=2, CKPT_FAULT=f"handover.after_ack:2:once={held};sleep=3", CKPT_FAULT_RANK="1")
    wait_for(held.exists, "the hand-over")
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_front_of_an_engine(loaded, number):
    process = held_in_hand_over(loaded)
    front = loaded.engines[0].process
    workers = children(front.pid)
    assert len(workers) == 2
    front.send_signal(number)
    ended = finish(process, LIMIT_S * 2 * SLOW + 20)
    one_error(ended)
    if number == signal.SIGSTOP:
        front.send_signal(signal.SIGCONT)
        expect_whole(loaded, {"v1", "v2"})
        return
    front.wait(timeout=10)
    wait_for(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers), "the workers to end with their front")
    assert loaded.left_over() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_parent_with_the_store(loaded, number):
    process = held_in_hand_over(loaded)
    ranks = children(process.pid)
    assert len(ranks) == 2
    process.send_signal(number)
    wait_for(lambda: not any(running(rank) for rank in ranks), "the ranks to end without their store")
    process.send_signal(signal.SIGCONT) if number == signal.SIGSTOP else None
    assert finish(process, LIMIT_S * SLOW).returncode != 0
    # Whoever could have cleaned up after the ranks is dead, too: the next update does it.
    expect_whole(loaded, {"v1"}, cleaned=number == signal.SIGSTOP)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_nth_system_call_of_a_rank(loaded):
    """A sample of all: each ends with one error or well, and the engine stays whole."""
    nth, failures = 1, 0
    while True:
        once = loaded.path / f"struck-{nth}"
        ended = update(loaded, loaded.v2, "v2", CKPT_FAULT=f"*:{nth}:once={once};error", CKPT_FAULT_RANK="1")
        if not once.exists():
            break
        if ended.returncode != 0:
            failures += 1
            one_error(ended)
        weights = loaded.engines[0].weights()
        assert weights["version"] in ("v1", "v2") and reported(weights) == loaded.known[weights["version"]], nth
        assert loaded.left_over() == []
        nth += 1 + nth // 3
    assert nth > 20 and failures > 3
    expect_whole(loaded, {"v1", "v2"})
