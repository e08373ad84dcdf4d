"""The load format ``ckpt_engine``: the engine starts empty and is filled by an update while it initialises. Imports vLLM: loaded by it alone.

The first worker opens an HTTP door on port 33001 (``--model-loader-extra-config '{"port": …}'``) of 127.0.0.1, which a sender takes for a vLLM that can be
updated: ``ckpt-engine update --engine vllm --endpoint http://127.0.0.1:33001 …`` may be started before, with or after the engine, and waits for the door. An
update that is refused leaves the engine waiting for the next.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, Dict, List

from vllm.distributed.parallel_state import get_world_group
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

from .colocate import answer, run_update
from .door import Door
from .model_update import NEW, OLD

_log = logging.getLogger("vllm.ckpt_engine")
_DEFAULT_PORT = 33001


class CkptModelLoader(DummyModelLoader):
    """vLLM's dummy loader, and then an update: the same code fills and updates, and tells what is missing."""

    def __init__(self, load_config: Any) -> None:
        extra: Dict[str, Any] = dict(load_config.model_loader_extra_config or {})
        self._port = int(extra.pop("port", _DEFAULT_PORT))
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
        if group.rank_in_group != 0:
            while not _all_filled(self._update(group, worker, None)):
                pass
            return model
        with Door(self._port) as door:
            _log.info("waiting for an update at %s", door.url)
            while True:
                call = door.next_call()
                answers = self._update(group, worker, call.addresses)
                call.reply(answers)
                if _all_filled(answers):
                    return model

    @staticmethod
    def _update(group: Any, worker: Any, addresses: Any) -> List[Dict[str, Any]]:
        """One update in all workers, which come together before and after it. What each of them says, in rank order."""
        from torch.distributed import all_gather_object

        from ..worker import device_key

        addresses = group.broadcast_object(addresses, src=0)
        try:
            said = run_update(worker, addresses[device_key(worker, addresses)], raises=False)
        except KeyError as error:  # to be told like any other failure: the others wait for this worker
            said = answer("", str(error), OLD)
        answers: List[Dict[str, Any]] = [{} for _ in range(group.world_size)]
        all_gather_object(answers, said, group=group.cpu_group)
        return answers


def _all_filled(answers: List[Dict[str, Any]]) -> bool:
    return all(one["ckpt_engine"]["weights"] == NEW for one in answers)
