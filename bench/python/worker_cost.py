"""What our worker costs an engine per tensor, outside its loader. Needs torch (for CPUs is enough), a build, and python/ on PYTHONPATH:

    CKPT_LIBRARY=build/release/src/capi/libckpt.so PYTHONPATH=python python bench/python/worker_cost.py build/release/bin/ckpt-engine

`ckpt-engine update` sends a checkpoint of many small tensors from host memory, again and again, to a worker in this process. Counted is the processor
time of the worker's thread from its start to its end without that inside `run`: messages read and checked, digests if they are asked for, tensors made and
taken down, the buffer mapped. The first update makes what later ones find (the layouts).
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import torch  # noqa: F401  its import is no part of an update

from ckpt_engine.worker import update_weights_from_ipc


def write_checkpoint(path: Path, num_tensors: int) -> None:
    """BF16 of 16 x 16, under names as long as those of a mixture of experts."""
    header, at = {}, 0
    for number in range(num_tensors):
        name = f"model.layers.{number // 400}.mlp.experts.{number % 400}.gate_proj.weight"
        header[name] = {"dtype": "BF16", "shape": [16, 16], "data_offsets": [at, at + 512]}
        at += 512
    text = json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + os.urandom(at))


class Worker:
    def __init__(self):
        self.tensors, self.seconds, self.inside = 0, [], 0.0

    def run(self, weights) -> None:
        begin = time.thread_time()
        self.tensors += len(weights)
        self.inside += time.thread_time() - begin

    def update(self, addresses: dict) -> None:
        self.tensors, self.inside = 0, 0.0
        begin = time.thread_time()
        update_weights_from_ipc(None, next(iter(addresses.values())), None, run=self.run)
        self.seconds.append(time.thread_time() - begin - self.inside)


def door(worker: Worker):
    class Door(BaseHTTPRequestHandler):
        def reply(self, status: int, body) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):  # noqa: N802
            self.reply(200, {"version": "bench"})

        def do_POST(self):  # noqa: N802
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path != "/collective_rpc":
                return self.reply(404, {"detail": "Not Found"})
            worker.update(json.loads(body)["args"][0])
            self.reply(200, {"results": [None]})

        def log_message(self, *_):
            pass

    return Door


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--tensors", type=int, default=18867)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--bucket-size", default="4MiB")
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    worker = Worker()
    server = HTTPServer(("127.0.0.1", 0), door(worker))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(Path(directory), arguments.tensors)
        command = [arguments.binary, "update", "--quiet", "--device", "host", "--engine", "vllm", "--checkpoint-path", directory]
        command += ["--endpoint", f"http://127.0.0.1:{server.server_port}", "--bucket-size", arguments.bucket_size]
        for _ in range(arguments.updates):
            subprocess.run(command + (["--verify"] if arguments.verify else []), check=True)
            assert worker.tensors == arguments.tensors, worker.tensors
            gc.collect()  # of the process, not of an update
    per_tensor = [seconds / arguments.tensors * 1e6 for seconds in worker.seconds]
    print(f"{arguments.tensors} tensors: first update {per_tensor[0]:.2f} us a tensor, later ones {min(per_tensor[1:]):.2f} (best), {statistics.median(per_tensor[1:]):.2f} (median)")


if __name__ == "__main__":
    main()
