"""published_engine.py with a worker process for each GPU. Usage: gpu_engine.py PACKAGE_DIR vllm|sglang|lmdeploy PORT_FILE KEY…
A key is a GPU's UUID, "GPU-…"; or "rank:N" for the Nth worker of a vLLM on the CPU, which has our worker extension and finds its sender itself.

POST /control   as published_engine.py, and {"worker": n} for the one worker that it is meant for (else all), "die_in_load": k: it kills itself in its kth
"""

import multiprocessing
import os
import signal
import sys
import threading
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lmdeploy_door import lmdeploy_door
from published_engine import Model, door, import_worker, serve


class GpuModel(Model):
    """Of a worker process."""

    def load_weights(self, weights):
        if self.control.get("die_in_load") == self.loads + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super().load_weights(weights)


class ColocatedModel(GpuModel):
    """Of a worker process with vLLM's worker extension: what it needs of a worker, over this model."""

    def session(self, worker, addresses: dict, load):
        utils = types.ModuleType("vllm.model_executor.model_loader.utils")
        utils.process_weights_after_loading = lambda *_: self.hook()
        sys.modules[utils.__name__] = utils

        class Worker(worker.VllmColocateWorkerExtension):
            rank = int(self.key.split(":")[1])
            device = types.SimpleNamespace(index=None)
            model_config = None
            model_runner = types.SimpleNamespace(model=types.SimpleNamespace(load_weights=load))

        said = Worker().update_weights_from_ipc(addresses)["ckpt_engine"]
        if said["error"]:
            raise RuntimeError(said["error"])


def work(package: Path, key: str, pipe):
    """A worker process: one update for each message."""
    worker, model = import_worker(package), (ColocatedModel if key.startswith("rank:") else GpuModel)(key)
    while True:
        try:
            addresses, control = pipe.recv()
        except EOFError:
            return  # the front is gone
        model.control = control
        try:
            model.update(worker, addresses)
        except BaseException as error:
            pipe.send((f"{type(error).__name__}: {error}", {}, {}, 0))
        else:
            pipe.send(("", model.tensors, model.draft, model.hooks))


class Workers:
    """As published_engine.Model to its door, with a process for each key. One that died is started again by the next update."""

    def __init__(self, package: Path, keys: list[str]):
        self.package, self.keys = package, keys
        self.lock = threading.Lock()
        self.control, self.tensors, self.draft, self.hooks, self.workers, self.error = {}, [], [], 0, 0, ""
        self.spawn = multiprocessing.get_context("spawn")
        self.processes = [self.start(key) for key in keys]

    def start(self, key):
        ours, theirs = self.spawn.Pipe()
        process = self.spawn.Process(target=work, args=(self.package, key, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def update(self, _, addresses: dict):
        self.tensors, self.draft, self.hooks, self.error = [], [], 0, ""
        self.workers = len(self.keys)
        for number, key in enumerate(self.keys):
            if not self.processes[number][0].is_alive():
                self.processes[number] = self.start(key)
            meant = self.control.get("worker", number) == number
            self.processes[number][1].send((addresses, self.control if meant else {}))
        try:
            for number in range(len(self.keys)):
                self.take_answer(number)
        finally:
            self.control, self.workers = {}, 0
        if self.error:
            raise RuntimeError(self.error)

    def take_answer(self, number: int):
        try:
            error, tensors, draft, hooks = self.processes[number][1].recv()
        except EOFError:
            error, tensors, draft, hooks = f"worker {number} died", {}, {}, 0
        self.error = self.error or error
        self.tensors.append(tensors)
        self.draft.append(draft)
        self.hooks += hooks


if __name__ == "__main__":
    workers = Workers(Path(sys.argv[1]), sys.argv[4:])
    made = door(sys.argv[2], None, workers)
    serve(lmdeploy_door(made, Path(sys.argv[1]).name, workers) if sys.argv[2] == "lmdeploy" else made, Path(sys.argv[3]))
