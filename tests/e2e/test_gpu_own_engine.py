"""`ckpt-engine update --device cuda` on software GPUs into our own engine, whose workers copy the slots to the host."""

import json
import re

import pytest
from engine_world import one_error
from expected_shards import expected, reported
from gpu_world import RanksOnGpus


@pytest.fixture
def gpus(tmp_path):
    made = RanksOnGpus(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("ranks", [1, 2])
def test_updates_from_gpus_and_from_host_memory(gpus, ranks):
    versions = {version: gpus.checkpoint(version, "tiny-deepseek-fp8", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engine = gpus.engine(versions["v1"], ranks)
    for version, device in (("v1", "cuda"), ("v2", "cuda"), ("v1", "host"), ("v2", "cuda")):
        ended = gpus.update(versions[version], version, "--device", device, "--verify", "--json", ranks=ranks, tp=ranks)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["verified"]
        assert reported(engine.weights()) == expected(versions[version], ranks)
        assert gpus.left_over() == []


@pytest.mark.parametrize(
    "environment, said",
    [
        ({"CKPT_FAKE_CUDA_FAIL": "cuIpcOpenMemHandle:400:1+"}, "cuIpcOpenMemHandle: CUDA_ERROR_INVALID_HANDLE"),
        ({"CKPT_FAKE_CUDA_FAIL": "cuMemcpyDtoHAsync:700:2+"}, "bytes from the GPU: cuMemcpyDtoHAsync: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, "none of the 1 GPU(s) seen here is that"),
        ({"LD_LIBRARY_PATH": ""}, "the CUDA driver cannot be loaded"),
    ],
    ids=["handle refused", "copy fails", "GPU not seen", "no driver"],
)
def test_an_engine_that_cannot_read_the_slots_keeps_its_version(gpus, environment, said):
    checkpoint = gpus.checkpoint("v1", "tiny-qwen3", 1)
    engine = gpus.engine(checkpoint, 1, **environment)
    error = one_error(gpus.update(checkpoint, "v1", "--device", "cuda", ranks=1, tp=1))
    assert said in error, error
    assert engine.weights()["version"] is None
    assert gpus.left_over() == []


def test_a_bit_that_flips_on_the_way_to_a_slot_is_refused(gpus):
    versions = {version: gpus.checkpoint(version, "tiny-qwen3", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engine = gpus.engine(versions["v1"], 2)
    assert gpus.update(versions["v1"], "v1", "--verify", ranks=2, tp=2).returncode == 0
    error = one_error(gpus.update(versions["v2"], "v2", "--verify", ranks=2, tp=2, CKPT_FAKE_CUDA_FAIL="flip:1:3"))
    assert re.search(r"bucket \d+, in tensor \S+( or the \d+ after it)?: the bytes of rank \d have digest", error), error
    assert engine.weights()["version"] == "v1" and reported(engine.weights()) == expected(versions["v1"], 2)
