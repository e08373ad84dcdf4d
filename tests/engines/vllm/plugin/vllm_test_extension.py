"""Our worker extension, and what the tests ask a worker beside it: updates from files, without a sender, and facts about the model."""

import json
import os
import time
from pathlib import Path

import torch
from safetensors import safe_open

from ckpt_engine.vllm.model_update import ModelUpdate
from ckpt_engine.worker import VllmColocateWorkerExtension

LOAD = ModelUpdate.load


def buckets(folder: Path, leave_out: list, num_buckets: int):
    """Lists of (name, view of one buffer that is written anew for each list)."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    names = sorted(name for name in index if name not in leave_out)
    tensors = {}
    for file in set(index.values()):
        with safe_open(folder / file, "pt") as stored:
            tensors.update({name: stored.get_tensor(name) for name in stored.keys()})
    per_bucket = -(-len(names) // num_buckets)
    groups = [names[i : i + per_bucket] for i in range(0, len(names), per_bucket)]
    buffer = torch.empty(max(sum(tensors[name].nbytes for name in group) for group in groups), dtype=torch.uint8)
    for group in groups:
        bucket, offset = [], 0
        for name in group:
            view = buffer[offset : offset + tensors[name].nbytes].view(tensors[name].dtype).view(tensors[name].shape)
            view.copy_(tensors[name])
            bucket.append((name, view))
            offset += tensors[name].nbytes
        yield bucket


class TestExtension(VllmColocateWorkerExtension):
    def test_update(self, folder: str, staged=None, leave_out=(), num_buckets=5, stop_after=None, untold=False) -> dict:
        """`untold`: the model's own loader does not tell what it has loaded, or tells it by other names, as vLLM 0.26's does of experts."""
        update = ModelUpdate(self, staged)
        model = self.model_runner.model
        if untold:
            model.load_weights = lambda weights: (type(model).load_weights(model, weights), set())[1]
        try:
            for number, bucket in enumerate(buckets(Path(folder), list(leave_out), num_buckets)):
                if number == stop_after:
                    raise RuntimeError("the sender has gone")
                update.load(bucket)
            update.check()
            update.commit()
        except Exception as error:
            update.abort()
            return {"error": f"{type(error).__name__}: {error}", "weights": update.weights}
        finally:
            model.__dict__.pop("load_weights", None)
        return {"error": None, "weights": update.weights}

    def test_facts(self) -> dict:
        parameters = list(self.model_runner.model.parameters())
        return {"pid": os.getpid(), "meta": sum(parameter.is_meta for parameter in parameters)}

    def test_raise(self, rank: int) -> str:
        if self.rank == rank:
            raise RuntimeError("as the test wants it")
        return "did not raise"

    def test_slow_loads(self, seconds: float) -> None:
        """Before each bucket from now on."""

        def load(update, tensors):
            time.sleep(seconds)
            LOAD(update, tensors)

        ModelUpdate.load = load

    def test_exit_in_load(self, rank: int) -> None:
        """The worker `rank` dies when the next update's first bucket comes."""
        if self.rank == rank:
            ModelUpdate.load = lambda *_: os._exit(3)
