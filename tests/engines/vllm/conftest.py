import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "support")]

from sending import command  # noqa: E402
from vllm_server import MODELS, START_SECONDS, VENV, VllmServer  # noqa: E402


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    """One a module, which says as SERVED which model and with which tensor parallelism; as FILLED with which version a waiting sender fills it while it
    starts, else it has made-up weights."""
    if not (VENV / "installed").exists():
        pytest.skip("build/vllm is not here: tests/engines/vllm/setup makes it (3 minutes, 2 GB)")
    (model, tp), filled = request.module.SERVED, getattr(request.module, "FILLED", None)
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    started = VllmServer(model, tp, log, {"CKPT_LIBRARY": os.environ["CKPT_LIBRARY"]} if "CKPT_LIBRARY" in os.environ else {}, bool(filled))
    sender = None
    try:
        if filled:  # before there is anybody to send to
            waits = command(started, MODELS / model / filled, url=started.filling_url, seconds=START_SECONDS)
            sender = subprocess.Popen(waits, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.wait_ready()
        if sender:
            output, _ = sender.communicate(timeout=30)
            assert sender.returncode == 0, output
        yield started
    finally:
        if sender and sender.poll() is None:
            sender.kill()
            sender.wait()
        failed = request.session.testsfailed > 0
        started.stop()
        if failed:
            print(f"the end of vLLM's log:\n{log.read_text(errors='replace')[-6000:]}")
