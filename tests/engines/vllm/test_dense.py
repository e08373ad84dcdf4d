"""A real vLLM with a dense model on one worker: filled, updated while it is asked, fed what must be refused, left alone by its sender, trained."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from sending import Client, NativeRoutes, cut, kill_sender_in_the_middle, renamed, update, without
from vllm_server import MODELS, ROOT, VENV

SERVED = ("qwen3", 1)
VERSIONS = [MODELS / "qwen3" / version for version in ("v1", "v2", "v3")]
K_PROJ = "model.layers.2.self_attn.k_proj.weight"


def weight_version(server) -> str:
    return server.call("GET", "/weight_info")[1]["weight_version"]


def is_paused(server) -> bool:
    return server.call("GET", "/is_paused")[1]["is_paused"]


def ensure(server, version: str) -> None:
    """Whatever a test before has left."""
    done = update(server, MODELS / "qwen3" / version, "--weight-version", version)
    assert done.returncode == 0, done.stderr
    assert server.version_served() == version


def test_ten_updates_while_a_client_asks(server):
    assert server.version_served() not in server.answers, "made-up weights are none of the versions"
    with Client(server) as client:
        for number in range(10):
            checkpoint = VERSIONS[number % 3]
            done = update(server, checkpoint, "--weight-version", f"step-{number}")
            assert done.returncode == 0, done.stderr
            assert server.version_served() == checkpoint.name, f"after update {number}"
            assert weight_version(server) == f"step-{number}"
            assert not is_paused(server)
    assert not client.errors
    assert all(len(answer["tokens"]) == 16 for answer in client.answers) and len(client.answers) >= 10


def test_an_engine_that_its_user_has_paused_stays_so(server):
    ensure(server, "v1")
    assert server.call("POST", "/pause?mode=keep")[0] == 200
    done = update(server, VERSIONS[1], "--weight-version", "v2")
    assert done.returncode == 0 and "was paused before the update, and stays so" in done.stdout, done.stdout + done.stderr
    assert is_paused(server) and weight_version(server) == "v2"
    server.call("POST", "/resume")
    assert server.version_served() == "v2"


def test_an_incomplete_checkpoint_is_refused_and_the_old_weights_answer(server, tmp_path):
    ensure(server, "v1")
    done = update(server, without(VERSIONS[1], K_PROJ, tmp_path / "incomplete"))
    assert done.returncode != 0
    assert K_PROJ in done.stderr and "incomplete update: 1 tensors did not come" in done.stderr, done.stderr
    assert "goes on with its old weights" in done.stderr, done.stderr
    assert not is_paused(server) and server.version_served() == "v1" and weight_version(server) == "v1"
    ensure(server, "v2")


@pytest.mark.parametrize("wrong", [cut, lambda source, folder: renamed(source, K_PROJ, K_PROJ.replace("k_proj", "x_proj"), folder)], ids=["cut", "unknown name"])
def test_a_broken_checkpoint_is_refused_and_the_old_weights_answer(server, tmp_path, wrong):
    ensure(server, "v1")
    assert update(server, wrong(VERSIONS[1], tmp_path / "broken")).returncode != 0
    assert not is_paused(server) and server.version_served() == "v1"
    ensure(server, "v2")


def test_a_killed_sender_leaves_the_old_weights_and_the_next_update_works(server):
    ensure(server, "v1")
    kill_sender_in_the_middle(server, VERSIONS[1])
    assert weight_version(server) == "", "nobody could tell whose weights they are"
    server.call("POST", "/resume")  # nobody else does: the sender is gone
    assert server.version_served() == "v1"
    server.call("POST", "/pause?mode=keep")  # as the sender left it, which our worker knows: the next update ends the pause
    ensure(server, "v3")
    assert not is_paused(server)


def test_an_incomplete_checkpoint_by_vllms_own_routes(server, tmp_path):
    ensure(server, "v1")
    assert server.call("POST", "/init_weight_transfer_engine", {"init_info": {}})[0] == 200
    with NativeRoutes(server) as door:
        done = update(door, without(VERSIONS[1], K_PROJ, tmp_path / "incomplete"))
        assert done.returncode != 0 and K_PROJ in done.stderr, done.stderr
        assert "stays paused" in done.stderr and is_paused(server), "vLLM's own routes do not say that the weights are whole"
        assert server.rpc("ckpt_engine_weights") == [{"weights": "whole"}]
        assert update(door, VERSIONS[1]).returncode == 0
    assert server.version_served() == "v2"


def test_without_room_to_stage_a_failure_leaves_torn_weights_and_the_next_update_mends_them(server):
    ensure(server, "v1")
    assert server.call("POST", "/pause?mode=keep")[0] == 200
    reply = server.rpc("test_update", str(VERSIONS[1]), staged=False, leave_out=[K_PROJ])[0]
    assert reply["weights"] == "torn" and K_PROJ in reply["error"]
    assert server.rpc("test_facts")[0]["meta"] == 0
    reply = server.rpc("test_update", str(VERSIONS[1]), stop_after=3)[0]
    assert reply["weights"] == "torn", "an update that fails mends nothing"
    ensure(server, "v3")
    assert server.call("POST", "/pause?mode=keep")[0] == 200
    reply = server.rpc("test_update", str(VERSIONS[1]), staged=False)[0]
    assert reply == {"error": None, "weights": "new"}
    server.call("POST", "/reset_prefix_cache")
    server.call("POST", "/resume")
    assert server.version_served() == "v2"


def test_the_rl_example_trains_it(server, tmp_path):
    """Ten steps: the reward rises, each rollout is of the step's weights, and no step leaves anything behind in the trainer."""
    result = tmp_path / "result.json"
    command = [VENV / "bin" / "python", Path(__file__).parent / "rl_counted.py", result, VERSIONS[0], "--url", server.url, "--learning-rate", "0.001"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    seen = json.loads(result.read_text())
    steps, counted = seen["steps"], seen["counted"]
    assert [step["version"] for step in steps] == [f"step-{number}" for number in range(10)] and weight_version(server) == "step-10"
    assert steps[0]["reward"] < 0.65 and steps[-1]["reward"] > steps[0]["reward"] + 0.2, done.stdout
    for step in steps:
        assert step["difference"] < step["moved"] / 5, f"rollouts that are a step late would not be noticed: {step}"
    assert all(has == counted[2] for has in counted[3:]), "the same threads, descriptors and shared memory from step 3 to step 10"
    assert not is_paused(server)
