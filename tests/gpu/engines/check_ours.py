"""A real engine with our worker inside is filled while it starts, updated by every route and both senders, fed what must be refused, and brought back.

    SITE=… OURS=… COMPAT=… python3 check_ours.py vllm|sglang MODEL_DIR LOG_DIR [--tp N] [--port N]

Folders for PYTHONPATH: SITE, the engine, with the published checkpoint_engine; OURS, the package ckpt_engine; COMPAT, its import name checkpoint_engine.
One JSON line a step; exit status 0 only when all hold. Which weights are served is told by the engine's greedy answers, held against those of
transformers, and in the end, bit for bit, against a server that loaded the same weights from disk.
"""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine import FAILED, OFFLINE, ROOM, SAFE, Server, agrees, http, read_arguments, tell, update_command

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "engines" / "vllm"))
from sending import without  # noqa: E402

MISSING = "model.layers.2.self_attn.k_proj.weight"
NAMED = re.compile(r"model\.layers\.2\.self_attn\.(k_proj\.weight|qkv_proj\.weight \(part k\))")  # SGLang knows the name of its own parameter
SITE, OURS, COMPAT = (os.environ[name] for name in ("SITE", "OURS", "COMPAT"))
WITH_OURS, WITH_PUBLISHED = f"{COMPAT}:{OURS}:{SITE}", SITE


def facts_in(text: str) -> dict:
    """The JSON object that a program printed: all of its output, or its last line of that kind."""
    for piece in [text, *reversed(text.splitlines())]:
        try:
            found = json.loads(piece)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


class Check:
    def __init__(self, arguments):
        self.arguments, self.expected = arguments, json.loads((arguments.model / "answers.json").read_text())
        self.serial = 0

    def log(self, text: str, label: str) -> None:
        self.serial += 1
        (self.arguments.logs / f"{self.arguments.label}-{self.serial:02}-{label}.log").write_text(text)

    def command(self, url: str, version: str, *options: str) -> list[str]:
        checkpoint = Path(version) if os.sep in version else self.arguments.model / version
        return update_command(self.arguments, url, checkpoint, "--inference-parallel-size", str(self.arguments.tp), "--device", os.environ.get("CHECK_DEVICE", "cuda"), "--timeout", "300s",
                              "--ready-timeout", "280s", *options)

    def start(self, command: list[str], path: str = "") -> subprocess.Popen:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | SAFE | OFFLINE | ({"PYTHONPATH": path} if path else {})
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)

    def finish(self, label: str, process: subprocess.Popen, good: bool = True, seconds: float = 120) -> str:
        """What it printed. `good`: whether it is to succeed."""
        begin = time.monotonic()
        try:
            out, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, error = process.communicate()
            error += "\nkilled: too slow"
        self.log(out + error, label.replace(" ", "-"))
        facts = facts_in(out)
        kept = {name: facts[name] for name in ("seconds", "lane", "register", "metas", "update", "first_token") if name in facts}
        tell(label, (process.returncode == 0) == good, command_s=round(time.monotonic() - begin, 2), **kept, error=(out + error)[-1200:] if process.returncode else "")
        return out + error

    def serves(self, server: Server, version: str, when: str) -> list:
        got = server.answers(self.expected[version])
        good, facts = agrees(got, self.expected[version], ROOM[self.arguments.model.name])
        told = self.version_told(server)
        tell(f"{version} is served {when}", good, told=told, **facts)
        return got

    def version_told(self, server: Server):
        status, text = http(server.url + ("/weight_info" if server.engine == "vllm" else "/model_info"))
        return json.loads(text).get("weight_version") if status == 200 else status

    def torchrun(self, route: str, server: Server, version: str) -> list[str]:
        port = self.arguments.port + 1000 + 20 * self.serial
        return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(self.arguments.tp), "--master-port", str(port), str(HERE / "script.py"), route, server.url,
                str(self.arguments.model / version), version]

    def by_script(self, server: Server) -> None:
        engine = self.arguments.engine
        if os.environ.get("CHECK_DEVICE", "cuda") == "cuda":
            self.finish("script, published package", self.start(["flock", "/tmp/reference.lock", *self.torchrun(engine, server, "v1")], WITH_PUBLISHED))
            self.serves(server, "v1", "after the published sender")
        self.finish("the same script, our package", self.start(self.torchrun(engine, server, "v2"), WITH_OURS))
        self.serves(server, "v2", "after the same script with our package")
        if engine == "vllm":
            self.finish("script, vLLM's own routes", self.start(self.torchrun("vllm-routes", server, "v1"), WITH_OURS))
            self.serves(server, "v1", "after vLLM's own routes")

    def by_sglang(self, server: Server) -> None:
        """The route that asks for weights, and SGLang's own sender."""
        body = {"model_path": str(self.arguments.model / "v1"), "load_format": "ckpt_engine", "weight_version": "asked", "port": self.arguments.filling_port}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(http, server.url + "/update_weights_from_ckpt_engine", body, 120)
            self.finish("sender for a server that asks", self.start(self.command(f"http://127.0.0.1:{self.arguments.filling_port}", "v1")))
            status, text = asked.result()
        tell("POST /update_weights_from_ckpt_engine", status == 200, reply=text[:300])
        self.serves(server, "v1", "after the server asked")
        for module in ("sglang.srt.checkpoint_engine.update", "ckpt_engine.sglang.update"):
            version = "v2" if module.startswith("sglang") else "v1"
            options = ["--endpoint", server.url, "--checkpoint-path", str(self.arguments.model / version), "--inference-parallel-size", str(self.arguments.tp), "--weight-version", version]
            self.finish(f"python -m {module}", self.start([sys.executable, "-m", module, *options], WITH_OURS))
            self.serves(server, version, f"after {module}")

    def broken(self, server: Server, folder: Path) -> None:
        """An update that fails in the middle: with a way back, and without."""
        incomplete = str(without(self.arguments.model / "v1", MISSING, folder))
        self.finish("update to v2", self.start(self.command(server.url, "v2", "--weight-version", "v2")))
        error = self.finish("incomplete checkpoint, way back", self.start(self.command(server.url, incomplete, "--rollback-path", str(self.arguments.model / "v2"), "--rollback-version", "v2")), good=False)
        tell("it names the tensor", NAMED.search(error) is not None)
        self.serves(server, "v2", "after the way back")
        error = self.finish("incomplete checkpoint, no way back", self.start(self.command(server.url, incomplete)), good=False)
        tell("it names the tensor", NAMED.search(error) is not None)
        begin = time.monotonic()
        case = self.expected["v2"][0]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(server.answer, case["prompt"], len(case["tokens"]))
            time.sleep(3)
            held = not asked.done()
            tell("a request is held, or answered by the old weights", held or asked.result()[0] == case["tokens"], held=held)
            self.finish("update to v1", self.start(self.command(server.url, "v1", "--weight-version", "v1")))
            answered = asked.result(timeout=60)[0]
        tell("the held request is answered after the next update", bool(answered), seconds=round(time.monotonic() - begin, 2))
        self.serves(server, "v1", "after the next update")

    def killed(self, server: Server) -> None:
        """A sender that dies, wherever it is: what is served then is told by the engine; the next update works."""
        sender = self.start(self.command(server.url, "v2", "--bucket-size", "1MiB"))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and sender.poll() is None:
            status, text = http(server.url + "/is_paused", timeout_s=5)
            if status != 200 or json.loads(text).get("is_paused"):
                break
            time.sleep(0.002)
        if self.arguments.engine == "sglang":
            time.sleep(0.9)
        sender.poll() is None and os.killpg(sender.pid, signal.SIGKILL)
        sender.communicate()
        tell("sender killed", True, exit=sender.returncode)
        self.finish("update after a killed sender", self.start(self.command(server.url, "v2", "--weight-version", "v2")))

    def run(self) -> int:
        arguments, folder = self.arguments, self.arguments.logs / f"{self.arguments.label}-incomplete"
        filling = f"http://127.0.0.1:{arguments.filling_port}"
        fill = []
        with Server(arguments, arguments.model / "v1", "ckpt_engine", WITH_OURS, lambda: fill.append(self.start(self.command(filling, "v1")))) as server:
            self.finish("filled while it starts", fill[0])
            self.serves(server, "v1", "after the start")
            for version in ("v2", "v1", "v2"):
                self.finish(f"update to {version}", self.start(self.command(server.url, version, "--weight-version", version)))
            self.serves(server, "v2", "after three updates")
            self.by_script(server)
            if arguments.engine == "sglang":
                self.by_sglang(server)
            self.broken(server, folder)
            self.killed(server)
            updated = self.serves(server, "v2", "at the end")
        with Server(arguments, arguments.model / "v2", "auto", WITH_OURS) as server:
            loaded = self.serves(server, "v2", "from disk")
        tell("updated server and the one from disk: tokens and logprobs equal bit for bit", updated == loaded)
        print(f"{arguments.label}: {'failed: ' + ', '.join(FAILED) if FAILED else 'all hold'}", flush=True)
        return bool(FAILED)


if __name__ == "__main__":
    sys.exit(Check(read_arguments("ours")).run())
