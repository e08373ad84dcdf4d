"""An engine's HTTP door around published workers (e2e/published_engine.py, e2e/gpu_engine.py), started and asked: shared by the tests that drive them."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from engine_world import wait_for


class PublishedServer:
    """Starts `command`, which writes its port into `port_file`; its output is in engine.log of `directory`."""

    def __init__(self, directory: Path, command: list[str], port_file: Path, **options):
        self.log = open(directory / "engine.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen([sys.executable, *command], stdout=self.log, stderr=subprocess.STDOUT, **options)
        wait_for(lambda: port_file.exists() or self.process.poll() is not None, "the engine's port")
        assert self.process.poll() is None, (directory / "engine.log").read_text()
        self.port = int(port_file.read_text())
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def control(self, **settings):
        request = urllib.request.Request(self.endpoint + "/control", json.dumps(settings).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()

    def model(self) -> dict:
        with urllib.request.urlopen(self.endpoint + "/model", timeout=10) as reply:
            return json.load(reply)
