import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "support")]

from sending import command, without  # noqa: E402
from vllm_server import MODELS, START_SECONDS, VENV, VllmServer  # noqa: E402


def fill(server, version: str, scratch: Path, senders: list) -> list:
    """(exit code, output) of two updates of an engine that starts: one lacks a tensor and is refused, then the whole one."""
    whole, told = MODELS / server.model / version, []
    for checkpoint in (without(whole, "model.layers.1.self_attn.k_proj.weight", scratch / "incomplete"), whole):
        senders.append(subprocess.Popen(command(server, checkpoint, url=server.filling_url, seconds=START_SECONDS), stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True))
        output, _ = senders[-1].communicate()
        told.append((senders[-1].returncode, output))
        if senders[-1].returncode < 0:  # killed below: there is nobody to send to
            break
    return told


def assert_filled(filling) -> None:
    if filling and filling.done():
        code, output = filling.result()[-1]
        assert code == 0, output


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    """One a module, which says as SERVED which model and with which tensor parallelism; as FILLED with which version waiting senders fill it while it
    starts (`filled`: see fill()), else it has made-up weights."""
    if not (VENV / "installed").exists():
        pytest.skip("build/vllm is not here: tests/engines/vllm/setup makes it (3 minutes, 2 GB)")
    (model, tp), filled = request.module.SERVED, getattr(request.module, "FILLED", None)
    scratch = tmp_path_factory.mktemp("vllm")
    log = scratch / "server.log"
    started = VllmServer(model, tp, log, {"CKPT_LIBRARY": os.environ["CKPT_LIBRARY"]} if "CKPT_LIBRARY" in os.environ else {}, bool(filled))
    senders: list = []
    with ThreadPoolExecutor(1) as pool:
        try:
            filling = pool.submit(fill, started, filled, scratch, senders) if filled else None  # before there is anybody to send to
            started.wait_ready(lambda: assert_filled(filling))
            started.filled = filling.result(timeout=30) if filling else []
            yield started
        finally:
            failed = request.session.testsfailed > 0
            started.stop()
            for sender in senders:
                sender.kill()  # of one that has ended nothing is done
            if failed:
                print(f"the end of vLLM's log:\n{log.read_text(errors='replace')[-6000:]}")
