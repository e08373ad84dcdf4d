"""Which device a rank takes, how much of its memory, and what the timeline says of it: on software GPUs, into the newest worker."""

import json

import pytest
from engine_world import one_error
from gpu_world import GpuWorld, key_of_gpu

VERSION = "0.4.2"


@pytest.fixture
def make_world(tmp_path):
    worlds = []

    def make(num_gpus=1, keys=None):
        worlds.append(GpuWorld(tmp_path, VERSION, num_gpus, keys))
        return worlds[0]

    yield make
    worlds[0].close()


@pytest.mark.parametrize("visible", ["1", key_of_gpu(1)], ids=["by index", "by UUID"])
def test_a_rank_that_sees_one_gpu_takes_it(make_world, visible):
    world = make_world(keys=[key_of_gpu(1)])
    world.environment["CUDA_VISIBLE_DEVICES"] = visible
    world.expect_update(world.checkpoint("v1", "tiny-qwen3", 1), "v1")


def test_a_gpu_is_chosen_by_its_uuid(make_world):
    world = make_world(keys=[key_of_gpu(1)])
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    world.expect_update(checkpoint, "v1", "--device-uuid", key_of_gpu(1))
    assert "names 2 device(s), and this host has 1 rank(s)" in world.expect_failure(checkpoint, "v1", "--device-uuid", "GPU-1,GPU-2")


def test_two_ranks_on_one_gpu_are_refused(make_world):
    world = make_world(num_gpus=2)
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    error = world.expect_failure(checkpoint, "v1", CUDA_VISIBLE_DEVICES="0")
    assert f"ranks 0 and 1 have the same GPU, {key_of_gpu(0)}" in error, error
    world.expect_update(checkpoint, "v1")


def test_more_ranks_than_gpus_are_refused(make_world):
    world = make_world(num_gpus=2)
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    error = one_error(world.update(checkpoint, "v1", "--device", "cuda", ranks=3, tp=3))
    assert "GPU 2 is asked for, and this process sees 2" in error, error


def test_a_slice_of_a_gpu_needs_its_name_from_the_user(make_world):
    key = "MIG-the-name-that-this-engine-uses"
    world = make_world(keys=[key])
    world.environment |= {"CKPT_FAKE_CUDA_SLICES": "0:2", "CKPT_FAKE_CUDA_MEMORY": "512MiB"}
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    error = world.expect_failure(checkpoint, "v1")
    assert "a slice of a divided GPU (MIG" in error and "--device-uuid" in error, error
    world.expect_update(checkpoint, "v1", "--device-uuid", key)


def test_without_a_driver_cuda_is_refused_and_auto_is_host_memory(make_world):
    world = make_world()
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    world.environment.pop("LD_LIBRARY_PATH")
    error = world.expect_failure(checkpoint, "v1")
    assert "the CUDA driver cannot be loaded" in error and "--device host" in error, error
    world.environment["CKPT_DEVICE"] = "auto"
    error = one_error(world.update(checkpoint, "v1", ranks=1, tp=1))  # the engine's worker maps GPU memory
    assert "this rank's device is host memory" in error, error


@pytest.mark.parametrize("num_slots", [2, 1])
def test_short_memory_gives_fewer_slots_and_one_slot_says_what_it_costs(make_world, num_slots):
    world = make_world(num_gpus=2)
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    full = json.loads(world.expect_update(checkpoint, "v1", "--json").stdout)
    assert full["slots"] == 3 and full["notes"] == []
    short = json.loads(world.expect_update(checkpoint, "v1", "--json", "--memory-limit", str(num_slots * full["slot_bytes"])).stdout)
    assert short["slots"] == num_slots
    assert ["memory allows only one slot" in note for note in short["notes"]] == ([True] if num_slots == 1 else []), short


def test_the_timeline_tells_of_the_gpus_own_work(make_world, tmp_path):
    world = make_world(num_gpus=2)
    world.expect_update(world.checkpoint("v1", "tiny-qwen3", 1), "v1", "--trace", str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())
    events = events["traceEvents"] if isinstance(events, dict) else events
    for what in ("copy on the GPU", "all-gather on the GPU"):
        spans = [event for event in events if event["ph"] == "X" and what in event["name"]]
        assert {span["pid"] for span in spans} == {0, 1} and sum(span["args"]["bytes"] for span in spans) > 0, what
        assert all(span["dur"] >= 0 for span in spans)
    assert any("free the slots" in event["name"] for event in events if event["ph"] == "X")


def test_the_demo_runs_on_gpus(make_world):
    world = make_world()
    ended = world.run("demo", "--device", "cuda", "--shape", "tiny-qwen3", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["ok"] is True


def test_bench_measures_the_way_to_the_gpu(make_world):
    world = make_world()
    checkpoint = world.checkpoint("v1", "tiny-qwen3", 1)
    ended = world.run("bench", "--checkpoint-path", str(checkpoint), "--device", "cuda", "--rounds", "1", "--json")
    assert ended.returncode == 0, ended.stderr
    rows = {row["what"]: row for row in json.loads(ended.stdout)}
    for what in ("load into fresh memory", "pool to slot on the GPU"):
        assert rows[what]["seconds"] > 0 and rows[what]["limit_seconds"] > 0
