"""Two hosts of two ranks each, as network namespaces: launched on both, joined by a store and a collective over TCP."""

import json
import os
import subprocess
import time

import pytest
from engine_world import BINARY, SLOW, World, finish, wait_for
from expected_shards import expected, reported
from two_hosts import ADDRESS_A, ADDRESS_B, TwoHosts, Unavailable

TOKEN = "a secret of both hosts"


@pytest.fixture
def hosts(tmp_path):
    try:
        made = TwoHosts(tmp_path)
    except Unavailable as reason:
        pytest.skip(f"no namespaces: {reason}")
    yield made
    made.close()


@pytest.fixture
def world(hosts, tmp_path):  # in host A: made after it, ended before it
    made = World(tmp_path)
    made.environment["CKPT_STORE_TOKEN"] = TOKEN
    yield made
    made.close()


def update(world, hosts, checkpoint, version, tp, *arguments, other_boot_id=False, limit_s=30, during=None, **environment):
    """One update by two ranks on each host. How the launchers of both ended."""

    def launch(node):
        ours = [BINARY, "launch", "--nproc-per-node", "2", "--nnodes", "2", "--node-rank", str(node), "--master-addr", ADDRESS_A, "--master-port", "29500", "--"]
        ours += [BINARY, "update", "--checkpoint-path", str(checkpoint), "--weight-version", version, "--inference-parallel-size", str(tp)]
        ours += ["--endpoint", world.engines[0].endpoint if node == 0 or len(world.engines) == 1 else world.engines[1].endpoint]
        ours += ["--bucket-size", "256KiB", "--stripe-size", "64KiB", "--timeout", f"{20 * SLOW}s", *arguments]
        command = hosts.on_b(ours, other_boot_id) if node == 1 else hosts.on_a(ours)
        return subprocess.Popen(command, env=world.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    launchers = [launch(0), launch(1)]
    if during:
        during()
    return [finish(launcher, limit_s * SLOW) for launcher in launchers]


def expect_success(ended):
    assert [end.returncode for end in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    return json.loads(ended[0].stdout)


def test_one_engine_of_ranks_on_both_hosts_takes_two_versions(world, hosts):
    checkpoints = {version: world.checkpoint(version, "tiny-qwen3-moe", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engine = world.engine(checkpoints["v1"], 4)
    for version, path in checkpoints.items():
        before = hosts.received_bytes()
        report = expect_success(update(world, hosts, path, version, 4, "--json", "--verify", UCX_TLS="tcp"))
        assert (report["ranks"], report["engines"], report["lane"]) == (4, 1, "ucx tcp")
        assert report["own_heap_bytes"] < 64 << 20
        # Each of A's two ranks takes the half of the bytes that B's ranks hold.
        assert hosts.received_bytes() - before > report["checkpoint_bytes"]
        weights = engine.weights()
        assert (weights["version"], weights["tp"]) == (version, 4)
        assert reported(weights) == expected(path, 4)
    assert world.left_over() == []


def test_one_engine_with_workers_on_both_hosts_takes_two_versions(world, hosts, tmp_path):
    """Workers 2 and 3 run on host B, where alone they can reach the sockets of B's ranks: abstract names live in one network namespace."""
    place = tmp_path / "place"
    place.write_text(f"#!/bin/sh\nrank=$1; shift\n[ $rank -lt 2 ] || exec {' '.join(hosts.on_b([]))} \"$@\"\nexec \"$@\"\n")
    place.chmod(0o755)
    checkpoints = {version: world.checkpoint(version, "tiny-qwen3-moe", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engine = world.engine(checkpoints["v1"], 4, "--worker-prefix", f"{place} {{rank}}")
    networks = [os.readlink(f"/proc/{pid}/ns/net") for pid in engine.workers()]
    assert len(networks) == 4 and len(set(networks)) == 2
    for version, path in checkpoints.items():
        before = hosts.received_bytes()
        report = expect_success(update(world, hosts, path, version, 4, "--json", "--verify", "--socket-dir", "abstract", UCX_TLS="tcp"))
        assert (report["ranks"], report["engines"], report["lane"]) == (4, 1, "ucx tcp")
        assert hosts.received_bytes() - before > report["checkpoint_bytes"]
        assert engine.weights()["version"] == version and reported(engine.weights()) == expected(path, 4)
    assert world.left_over() == []


def test_a_cut_link_ends_both_hosts_and_the_next_update_works(world, hosts):
    checkpoints = {version: world.checkpoint(version, "tiny-qwen3", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engine = world.engine(checkpoints["v1"], 4)
    expect_success(update(world, hosts, checkpoints["v1"], "v1", 4, "--json", UCX_TLS="tcp"))
    try:
        hosts.slow_down("4mbit")  # 5 s for the bytes that cross
    except Unavailable as reason:
        pytest.skip(f"no slow link: {reason}")
    before = hosts.received_bytes()

    def cut_in_the_middle():
        wait_for(lambda: hosts.received_bytes() - before > 300_000, "bytes of the exchange")
        hosts.cut()

    begin = time.monotonic()
    ended = update(world, hosts, checkpoints["v2"], "v2", 4, during=cut_in_the_middle, UCX_TLS="tcp")
    assert all(end.returncode != 0 for end in ended), ended
    assert all(len([line for line in end.stderr.splitlines() if line.startswith("ckpt-engine: ")]) == 1 for end in ended), [end.stderr for end in ended]
    assert time.monotonic() - begin < 15 * SLOW
    assert engine.weights()["version"] == "v1" and reported(engine.weights()) == expected(checkpoints["v1"], 4)
    hosts.mend()
    hosts.full_speed()
    expect_success(update(world, hosts, checkpoints["v2"], "v2", 4, "--json", UCX_TLS="tcp"))
    assert reported(engine.weights()) == expected(checkpoints["v2"], 4)
    assert world.left_over() == []


def test_hosts_of_their_own_boot_id_share_no_memory(world, hosts):
    """Two machines as far as anyone can tell: one engine each, ranks of one host read each other's memory, and TCP joins the hosts."""
    checkpoints = {version: world.checkpoint(version, "tiny-qwen3", seed) for version, seed in (("v1", 1), ("v2", 2))}
    engines = [world.engine(checkpoints["v1"], 2), world.engine(checkpoints["v1"], 2, host=ADDRESS_B, via=lambda command: hosts.on_b(command, other_boot_id=True))]
    for version, path in checkpoints.items():
        before = hosts.received_bytes()
        report = expect_success(update(world, hosts, path, version, 2, "--json", "--verify", other_boot_id=True))
        assert (report["ranks"], report["engines"], report["lane"]) == (4, 2, "ucx tcp+cma")
        assert hosts.received_bytes() - before > report["checkpoint_bytes"]
        for engine in engines:
            assert engine.weights()["version"] == version and reported(engine.weights()) == expected(path, 2)
    assert world.left_over() == []
