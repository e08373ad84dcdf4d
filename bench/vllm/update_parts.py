"""Time from update() to the first new token of a real vLLM on the CPU, by parts, beside vLLM's own reload from files in the same run.

    build/vllm/bin/python bench/vllm/update_parts.py build/release [--size 400MB] [--updates 7] [--json FILE]

A `ParameterServer` in this process (weights registered before, as in training) updates a server that streams tokens to a client meanwhile. Where each part
ends is told by whoever is there: the worker (noting_extension.py), a door between sender and vLLM that notes requests and replies, the client.
Medians of warm updates, two checkpoints in turn.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from engine import StreamingClient, Vllm, call, forget_cached, make_checkpoint

PARTS = ("ready", "held", "first bucket", "loaded", "committed", "told", "resumed", "first token")


class Door(ThreadingHTTPServer):
    """Passes every request on to `server`, and notes (path, begin, end)."""

    daemon_threads = True

    def __init__(self, server: Vllm):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.notes = server.url, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        self._pass_on(None)

    def do_POST(self):  # noqa: N802
        self._pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _pass_on(self, body):
        begin = time.time()
        status, text, _ = call(self.server.behind, self.command, self.path, body)
        self.server.notes.append((self.path.partition("?")[0], begin, time.time()))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def ends_of(begin: float, door: Door, worker: list, first_token: float) -> dict:
    """When each part ended, in seconds since `begin`."""
    at = {path: (start, end) for path, start, end in door.notes}
    loads = [(start, end) for what, start, end in worker if what == "load"]
    ends = (at["/pause"][0], at["/pause"][1], loads[0][0], max(end for _, end in loads), max(end for what, _, end in worker if what == "commit"),
            at["/update_weight_version"][1], at["/resume"][1], first_token)
    return {part: end - begin for part, end in zip(PARTS, ends)}


def by_sender(server: Vllm, door: Door, parameter_server, client: StreamingClient, name: str) -> dict:
    server.rpc("bench_notes")
    door.notes.clear()
    begin = time.time()
    report = parameter_server.update_engines(name, [door.url], engine="vllm", weight_version=name, keep_slots=True)
    returned = time.time() - begin
    first_token = client.first_after(next(start for path, start, _ in door.notes if path == "/resume"))
    ends = ends_of(begin, door, server.rpc("bench_notes"), first_token)
    return {**ends, "returned": returned, "stages": {stage: value["seconds"] for stage, value in report["stages"].items()}}


def by_vllm(server: Vllm, client: StreamingClient, folder: Path) -> dict:
    """vLLM's own reload from files, with requests held as in an update."""
    begin = time.time()
    server.call("POST", "/pause?mode=keep")
    held = time.time() - begin
    server.rpc("reload_weights", weights_path=str(folder))
    loaded = time.time() - begin
    server.call("POST", "/reset_prefix_cache?reset_running_requests=true")
    resumed = time.time()
    server.call("POST", "/resume")
    return {"held": held, "loaded": loaded, "resumed": time.time() - begin, "first token": client.first_after(resumed) - begin}


def measure(server: Vllm, folders: dict, updates: int) -> dict:
    from ckpt_engine.ps import ParameterServer

    ours, files, cold = [], [], []
    names = list(folders)
    door = Door(server)
    with ParameterServer(settings={"device": "host"}) as parameter_server:
        registered = {}
        for name, folder in folders.items():
            begin = time.time()
            parameter_server.register_checkpoint(name, directory=folder)
            parameter_server.gather_metas(name)
            registered[name] = time.time() - begin
        with StreamingClient(server) as client:
            client.first_after(time.time())
            for number in range(updates + 1):
                ours.append(by_sender(server, door, parameter_server, client, names[number % len(names)]))
            for number in range(updates):
                files.append(by_vllm(server, client, folders[names[number % len(names)]]))
            for number in range(2):
                forget_cached(folders[names[number]])
                cold.append(by_vllm(server, client, folders[names[number]]))
            gaps = [after - before for before, after in zip(client.arrivals, client.arrivals[1:])]
    return {"registered": registered, "ours": ours, "files": files, "files, cold": cold, "token": statistics.median(gaps)}


def medians(updates: list, parts) -> dict:
    return {part: statistics.median(update[part] for update in updates) for part in parts}


def durations(update: dict) -> dict:
    return {part: update[part] - begin for part, begin in zip(PARTS, [0.0, *(update[part] for part in PARTS)])}


def report(measured: dict, size: int) -> str:
    first, *warm = measured["ours"]
    at, long, at_first = medians(warm, (*PARTS, "returned")), medians([durations(update) for update in warm], PARTS), durations(first)
    lines = [f"{size / 1e6:.0f} MB; a token of the model takes {1e3 * measured['token']:.0f} ms; medians of {len(warm)} warm updates", "",
             "| part | ms | ended, since update() | first update, ms |", "|---|---|---|---|"]
    lines += [f"| {part} | {1e3 * long[part]:.0f} | {1e3 * at[part]:.0f} | {1e3 * at_first[part]:.0f} |" for part in PARTS]
    lines += [f"| (update() has returned) | | {1e3 * at['returned']:.0f} | |", ""]
    for name in ("files", "files, cold"):
        theirs = medians(measured[name], ("held", "loaded", "resumed", "first token"))
        lines.append(f"vLLM's own reload ({name}): " + ", ".join(f"{part} {1e3 * seconds:.0f}" for part, seconds in theirs.items()) + " ms")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="of the release preset")
    parser.add_argument("--size", default="400MB")
    parser.add_argument("--updates", type=int, default=7)
    parser.add_argument("--json", type=Path, help="all numbers, in seconds")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    os.environ["CKPT_LIBRARY"] = str(build / "lib" / "libckpt.so")
    with tempfile.TemporaryDirectory() as directory:
        folders = {f"v{seed}": make_checkpoint(build, Path(directory) / f"v{seed}", arguments.size, seed) for seed in (1, 2)}
        size = sum(file.stat().st_size for file in folders["v1"].glob("*.safetensors"))
        environment = {"WORKER_EXTENSION": "noting_extension.NotingExtension"}
        with Vllm(build, folders["v1"], Path(directory) / "vllm.log", ["--load-format", "auto"], environment) as server:
            server.wait_ready()
            measured = measure(server, folders, arguments.updates)
    print(report(measured, size))
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
