"""A real vLLM with experts and a tied output layer on two workers: what is repacked after loading, several workers' answers, vLLM's own routes, a lost worker."""

import time

from sending import Client, NativeRoutes, kill_sender_in_the_middle, update, without
from vllm_server import MODELS

SERVED, FILLED = ("qwen3_moe", 2), "v1"
VERSIONS = [MODELS / "qwen3_moe" / version for version in ("v1", "v2", "v3")]
AN_EXPERT = "model.layers.1.mlp.experts.3.down_proj.weight"


def ensure(server, version: str) -> None:
    done = update(server, MODELS / "qwen3_moe" / version, "--weight-version", version)
    assert done.returncode == 0, done.stderr
    assert server.version_served() == version


def test_filled_while_it_starts(server):
    (refused, said), (taken, output) = server.filled
    assert refused != 0 and "incomplete update: 1 tensors did not come: model.layers.1.self_attn.k_proj.weight" in said, said
    assert taken == 0, output
    assert server.version_served() == "v1"


def test_updated_while_a_client_asks(server):
    with Client(server) as client:
        for version in ("v2", "v3", "v1"):
            ensure(server, version)
    assert not client.errors


def test_one_expert_too_few_is_refused_by_all_workers(server, tmp_path):
    ensure(server, "v2")
    done = update(server, without(VERSIONS[0], AN_EXPERT, tmp_path / "incomplete"))
    assert done.returncode != 0 and AN_EXPERT in done.stderr, done.stderr
    assert server.version_served() == "v2"
    assert [reply["weights"] for reply in server.rpc("ckpt_engine_weights")] == ["whole", "whole"]
    ensure(server, "v3")


def test_a_killed_sender_leaves_the_old_weights_and_every_reply_in_its_place(server):
    ensure(server, "v1")
    kill_sender_in_the_middle(server, VERSIONS[1])
    server.call("POST", "/resume")
    assert server.version_served() == "v1"
    for version in ("v3", "v2"):  # a reply that was left behind would be noticed here
        ensure(server, version)


def test_vllms_own_weight_transfer_routes(server):
    ensure(server, "v1")
    assert server.call("POST", "/init_weight_transfer_engine", {"init_info": {}})[0] == 200
    with NativeRoutes(server) as door:
        done = update(door, VERSIONS[1], "--weight-version", "native")
    assert done.returncode == 0, done.stderr
    assert door.told == ["/start_weight_update", "/update_weights", "/finish_weight_update"]
    assert server.version_served() == "v2"


def test_without_room_to_stage(server):
    ensure(server, "v1")
    server.call("POST", "/pause?mode=keep")
    assert [reply["weights"] for reply in server.rpc("test_update", str(VERSIONS[1]), staged=False, leave_out=[AN_EXPERT])] == ["torn", "torn"]
    assert server.rpc("test_update", str(VERSIONS[1]), staged=False) == [{"error": None, "weights": "new"}] * 2
    server.call("POST", "/reset_prefix_cache")
    server.call("POST", "/resume")
    assert server.version_served() == "v2"


def test_what_came_is_known_also_where_the_models_loader_does_not_tell(server):
    ensure(server, "v1")
    server.call("POST", "/pause?mode=keep")
    for staged in (True, False):
        assert server.rpc("test_update", str(VERSIONS[1]), staged=staged, untold=True) == [{"error": None, "weights": "new"}] * 2
    assert all(AN_EXPERT in reply["error"] for reply in server.rpc("test_update", str(VERSIONS[2]), untold=True, leave_out=[AN_EXPERT]))
    server.call("POST", "/reset_prefix_cache")
    server.call("POST", "/resume")
    assert server.version_served() == "v2"


def test_replies_that_belong_to_another_call_are_noticed(server):
    """vLLM's replies are one call late in worker 1 from here on."""
    ensure(server, "v1")
    assert server.call("POST", "/collective_rpc", {"method": "test_raise", "args": [0]})[0] == 500
    done = update(server, VERSIONS[1])
    assert done.returncode != 0 and "the reply of worker 1 belongs to another call" in done.stderr, done.stderr
    assert server.call("GET", "/is_paused")[1] == {"is_paused": True}, "nobody knows which weights worker 1 has"


def test_a_worker_that_dies_in_an_update_is_said_clearly(server):
    """The last test: vLLM ends itself when it loses a worker."""
    server.rpc("test_exit_in_load", 1)
    begin = time.monotonic()
    done = update(server, VERSIONS[1], "--weight-version", "lost")
    assert done.returncode != 0 and server.url in done.stderr, done.stderr
    assert "-1: bucket 0: the other side disconnected" in done.stderr or "Executor failed" in done.stderr, done.stderr
    assert time.monotonic() - begin < 30, "noticed, not timed out"
