"""The load format ``ckpt_engine``: the engine starts empty and is filled by an update while it initialises. Imports vLLM: loaded by it alone.

The first worker opens an HTTP door on port 33001 (``--model-loader-extra-config '{"port": …}'``) of 127.0.0.1, which a sender takes for a vLLM that can be
updated: ``ckpt-engine update --engine vllm --endpoint http://127.0.0.1:33001 …`` may be started before, with or after the engine, and waits for the door. An
update that is refused leaves the engine waiting for the next.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict

from vllm.distributed.parallel_state import get_world_group
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

from .._door import Door, answer
from .._filling import DEFAULT_PORT, Filling
from ..worker import device_key
from .colocate import run_update
from .model_update import OLD


class CkptModelLoader(DummyModelLoader):
    """vLLM's dummy loader, and then an update: the same code fills and updates, and tells what is missing."""

    def __init__(self, load_config: Any) -> None:
        extra: Dict[str, Any] = dict(load_config.model_loader_extra_config or {})
        self._port = int(extra.pop("port", DEFAULT_PORT))
        if extra:
            raise ValueError(f"load format ckpt_engine knows the option \"port\", not {', '.join(sorted(extra))}")
        load_config.model_loader_extra_config = {}
        super().__init__(load_config)

    def load_model(self, vllm_config: Any, model_config: Any, prefix: str = "") -> Any:
        """Returns when an update has filled the model in all workers. Waits for it without end: an engine without weights is of no use."""
        model = super().load_model(vllm_config=vllm_config, model_config=model_config, prefix=prefix)
        group = get_world_group()
        worker = SimpleNamespace(device=group.device, rank=group.rank_in_group, model_config=model_config, vllm_config=vllm_config)
        worker.model_runner = SimpleNamespace(model=model)
        with Filling(group, lambda: Door(self._port)) as filling:
            while True:
                addresses = filling.next_update()
                try:
                    said = run_update(worker, addresses[device_key(worker, addresses)], raises=False)
                except KeyError as error:  # to be told like any other failure: the others wait for this worker
                    said = answer("", str(error), OLD)
                if filling.tell(said):
                    return model
