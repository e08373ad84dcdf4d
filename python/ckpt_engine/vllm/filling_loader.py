"""The load format ``ckpt_engine``: the engine starts empty and is filled by an update while it initialises. Imports vLLM: loaded by it alone.

The first worker opens an HTTP door on port 33001 (``--model-loader-extra-config '{"port": …}'``) of 127.0.0.1, which a sender takes for a vLLM that can be
updated: ``ckpt-engine update --engine vllm --endpoint http://127.0.0.1:33001 …`` may be started before, with or after the engine, and waits for the door. An
update that is refused leaves the engine waiting for the next.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Dict, Type

from vllm.distributed.parallel_state import get_world_group
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

from .._door import Door, answer
from .._filling import DEFAULT_PORT, Filling
from ..worker import device_key
from .colocate import run_update
from .first_fill import FirstUpdate, can_fill
from .model_update import OLD, ModelUpdate


class CkptModelLoader(DummyModelLoader):
    """In the place of vLLM's loader: the same code fills and updates, and tells what is missing.

    Weights come into the model as it is made, before vLLM processes them. Where that cannot be (see first_fill) the model is made by vLLM's dummy loader, and
    then updated.
    """

    def __init__(self, load_config: Any) -> None:
        extra: Dict[str, Any] = dict(load_config.model_loader_extra_config or {})
        self._port = int(extra.pop("port", DEFAULT_PORT))
        if extra:
            raise ValueError(f"load format ckpt_engine knows the option \"port\", not {', '.join(sorted(extra))}")
        load_config.model_loader_extra_config = {}
        self._vllm_config: Any = None
        self._filled = False
        super().__init__(load_config)

    def load_model(self, vllm_config: Any, model_config: Any, prefix: str = "") -> Any:
        """Returns when an update has filled the model in all workers. Waits for it without end: an engine without weights is of no use."""
        self._vllm_config, self._filled = vllm_config, False
        model = super().load_model(vllm_config=vllm_config, model_config=model_config, prefix=prefix)
        if not self._filled:
            self._fill(model, model_config, ModelUpdate)
        return model

    def load_weights(self, model: Any, model_config: Any) -> None:
        """vLLM calls it between making the model and processing it."""
        if not can_fill(model):
            super().load_weights(model, model_config)
            return
        self._fill(model, model_config, FirstUpdate)
        self._filled = True

    def _fill(self, model: Any, model_config: Any, make_update: Type[ModelUpdate]) -> None:
        group = get_world_group()
        worker = SimpleNamespace(device=group.device, rank=group.rank_in_group, model_config=model_config, vllm_config=self._vllm_config)
        worker.model_runner = SimpleNamespace(model=model)
        with Filling(group, lambda: Door(self._port)) as filling:
            while True:
                addresses = filling.next_update()
                try:
                    said = run_update(worker, addresses[device_key(worker, addresses)], raises=False, make_update=make_update)
                except KeyError as error:  # to be told like any other failure: the others wait for this worker
                    said = answer("", str(error), OLD)
                if filling.tell(said):
                    return
