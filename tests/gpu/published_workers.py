"""Unmodified workers of one published checkpoint-engine package with real torch, one process a GPU, behind bench/gpu/door.py.

    python3 published_workers.py --package DIR --devices N --port-file FILE

They keep a copy of every tensor they are given.
POST /control {"load_seconds": s, "touch": file}   for the next update: each bucket takes so long; the file appears when the second one is being loaded
POST /digests {}                                    per worker {name: [dtype, shape, sha256 of the bytes]}
"""

import argparse
import hashlib
import os
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench" / "gpu"), str(ROOT / "tests" / "support")]

import door  # noqa: E402
from published_package import import_worker  # noqa: E402


class Model:
    def __init__(self, rank: int, package: Path):
        import torch
        import zmq

        if os.environ.get("CKPT_GPU_STAND_IN"):
            import standin

            standin.install()
        else:
            torch.zeros(1, device=f"cuda:{rank}")
        torch.cuda.set_device(rank)
        self.torch, self.rank, self.context, self.receive = torch, rank, zmq.Context(), import_worker(package).update_weights_from_ipc
        self.key = f"GPU-{torch.cuda.get_device_properties(rank).uuid}"
        self.settings, self.tensors, self.loads, self.hooks = {}, {}, 0, 0

    def control(self, settings: dict):
        self.settings = settings

    def load(self, weights):
        self.loads += 1
        if self.loads == 2 and "touch" in self.settings:
            Path(self.settings["touch"] + str(self.rank)).touch()
        time.sleep(self.settings.get("load_seconds", 0))
        for name, tensor in weights:
            self.tensors[name] = tensor.clone()

    def hook(self):
        self.hooks += 1
        self.torch.cuda.synchronize()

    def update(self, addresses: dict) -> dict:
        self.tensors, self.loads, self.hooks = {}, 0, 0
        try:
            self.receive(self.context, addresses[self.key], device_id=self.rank, run=self.load, post_hook=self.hook)
        finally:
            self.settings = {}
        return dict(loads=self.loads, hooks=self.hooks)

    def digests(self, _) -> dict:
        def digest(tensor):
            raw = tensor.contiguous().flatten().view(self.torch.uint8) if tensor.numel() else self.torch.empty(0, dtype=self.torch.uint8)
            return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), hashlib.sha256(memoryview(raw.cpu().numpy())).hexdigest()]

        return {name: digest(tensor) for name, tensor in self.tensors.items()}


def work(rank: int, pipe, package: str) -> None:
    model = Model(rank, Path(package))
    pipe.send(model.key)
    while True:
        command, argument = pipe.recv()
        try:
            pipe.send((True, {"control": model.control, "update": model.update, "digests": model.digests}[command](argument)))
        except BaseException:  # noqa: BLE001 - told to the door, as an engine's worker does
            pipe.send((False, traceback.format_exc()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", required=True)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    arguments = parser.parse_args()
    door.serve(work, arguments.devices, 0, arguments.package, arguments.port_file)
