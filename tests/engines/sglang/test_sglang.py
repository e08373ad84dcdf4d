"""SGLang's own loaders, models, worker and application: filled at start, updated by the routes, refused updates. On the CPU, from host memory."""

import json
import os
import subprocess
import threading

import pytest
from conftest import HERE, MODELS, PYTHON, REPOSITORY, SECONDS, SITE
from sending import without


def ended_well(sent) -> None:
    assert sent.returncode == 0, sent.stdout + sent.stderr


def test_experts_filled_in_two_ranks(start, tmp_path):
    """The output layer is the embedding. One expert too few is refused by both."""
    engine = start("qwen3_moe", 2)
    name = "model.layers.1.mlp.experts.3.up_proj.weight"
    sent = engine.send(without(MODELS / "qwen3_moe/v1", name, tmp_path / "lacking"), url=engine.door_url)
    assert sent.returncode != 0 and "mlp.experts.w13_weight (part (3, 'w3'))" in sent.stderr, sent.stderr
    ended_well(engine.send(MODELS / "qwen3_moe/v2", url=engine.door_url))
    engine.wait_ready()
    assert engine.differing(MODELS / "qwen3_moe/v2") == [[], []]
    assert all(engine.differing(MODELS / "qwen3_moe/v1"))  # the comparison can fail


def test_an_update_that_lacks_something_leaves_it_waiting(start, tmp_path):
    """The names are told, parts of joined parameters too."""
    engine = start("qwen3", 1)
    lacking = without(MODELS / "qwen3/v1", "model.layers.1.mlp.up_proj.weight", tmp_path / "lacking")
    sent = engine.send(lacking, url=engine.door_url)
    assert sent.returncode != 0 and "model.layers.1.mlp.gate_up_proj.weight (part 1)" in sent.stderr, sent.stderr
    ended_well(engine.send(MODELS / "qwen3/v3", url=engine.door_url))
    engine.wait_ready()
    assert engine.differing(MODELS / "qwen3/v3") == [[]]

    # ---- and while it serves, by both routes
    ended_well(engine.send(MODELS / "qwen3/v1", "--weight-version", "v1"))
    assert engine.differing(MODELS / "qwen3/v1") == [[]]
    assert engine.call("GET", "/test_facts")[1] == {"version": "v1", "path": "made up", "loaded": True}
    assert engine.answers()
    sent = engine.send(lacking, "--weight-version", "lacking")
    assert sent.returncode != 0 and "model.layers.1.mlp.gate_up_proj.weight (part 1)" in sent.stderr
    assert engine.call("GET", "/test_facts")[1]["version"] == "", "torn weights are no version's"
    assert not engine.answers()  # some layers are old, some new

    asked = {}
    question = {"model_path": "v2", "load_format": "ckpt_engine", "port": engine.door_port, "weight_version": "v2"}
    asking = threading.Thread(target=lambda: asked.update(reply=engine.call("POST", "/update_weights_from_ckpt_engine", question)))
    asking.start()
    ended_well(engine.send(MODELS / "qwen3/v2", url=engine.door_url))
    asking.join(60)
    assert asked["reply"] == (200, {"success": True, "message": "IPC weight update completed successfully Weight version updated to v2."})
    assert engine.differing(MODELS / "qwen3/v2") == [[]]
    assert engine.call("GET", "/test_facts")[1] == {"version": "v2", "path": "v2", "loaded": True}
    assert engine.answers()  # mended

    # ---- what the route refuses
    def refused(**body):
        status, reply = engine.call("POST", "/update_weights_from_ckpt_engine", body)
        return (status, reply["success"], reply["message"])

    assert refused(load_format="ckpt_engine")[:2] == (400, False)
    assert refused(model_path="x", load_format="auto")[:2] == (400, False)
    assert refused(model_path="x", port=engine.door_port, timeout=0) == (400, False, f"no sender came to {engine.door_url}")


def test_sglangs_own_worker_over_our_package(start):
    """Without our plug-in: its module imports `checkpoint_engine`, which is ours."""
    engine = start("qwen3", 1, theirs=True)
    engine.wait_ready()
    assert engine.call("GET", "/test_facts")[1]["loaded"] is False
    ended_well(engine.send(MODELS / "qwen3/v2", "--weight-version", "v2"))
    assert engine.differing(MODELS / "qwen3/v2") == [[]]
    assert engine.call("GET", "/test_facts")[1] == {"version": "v2", "path": "made up", "loaded": True}


def test_the_launcher_adds_it_in_spawned_schedulers_too(tmp_path):
    """SGLang's own arguments; a model at ckptengine:// has the configuration of the folder."""
    with (tmp_path / "log").open("w") as log:
        arguments = ["--model-path", f"ckptengine://{MODELS}/qwen3/v1", "--wait-for-initial-weights", "--device", "cpu"]
        ended = subprocess.run([PYTHON, HERE / "launched.py", *arguments], stdout=subprocess.PIPE, stderr=log, text=True, timeout=SECONDS, check=False)
    said = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    both = {"load_format": "ckpt_engine", "loader": "CkptEngineModelLoader", "connector": "CkptEngineConnector", "worker": "ckpt_engine.sglang.plug_in",
            "waits": True, "patience": "1000000000"}
    assert said == [both | {"who": "server", "route": True}, both | {"who": "scheduler", "route": False}], (tmp_path / "log").read_text()[-3000:]


@pytest.mark.parametrize("sender", ["ours", "theirs"])
def test_senders_with_sglangs_options(start, sender):
    """Ours, and SGLang's own file over our ParameterServer (which starts torchrun); into SGLang's own worker."""
    engine = start("qwen3", 1, theirs=True)
    engine.wait_ready()
    program = ["-m", "ckpt_engine.sglang.update"] if sender == "ours" else [str(SITE / "sglang/srt/checkpoint_engine/update.py")]
    paths = [str(REPOSITORY / "python"), str(REPOSITORY / "python/compat")]
    environment = os.environ | {"CKPT_DEVICE": "host", "PYTHONPATH": os.pathsep.join(paths), "PATH": f"{PYTHON.parent}:{os.environ['PATH']}"}
    arguments = ["--endpoint", engine.url, "--checkpoint-path", str(MODELS / "qwen3/v2"), "--inference-parallel-size", "1", "--weight-version", "v2"]
    ended = subprocess.run([PYTHON, *program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)
    ended_well(ended)
    assert engine.differing(MODELS / "qwen3/v2") == [[]]
    assert engine.call("GET", "/test_facts")[1]["version"] == "v2"
