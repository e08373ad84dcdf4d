"""The load format ``ckpt_engine``: the engine starts empty and is filled by an update while it initialises. Imports SGLang: loaded by it alone.

The first rank opens an HTTP door on port 33001 of 127.0.0.1, or on the next that is free, and tells it in the log
(``--model-loader-extra-config '{"port": …}'`` wants one port and no other). A sender takes it for an SGLang that can be updated: ``ckpt-engine update --engine
sglang --endpoint http://127.0.0.1:33001 …`` may be started before, with or after the engine, and waits for the door. An update that is refused leaves the engine
waiting for the next.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, Optional

import torch
from sglang.srt.model_loader import loader as loaders
from sglang.srt.model_loader.utils import set_default_torch_dtype

from .. import _receiver
from .._door import answer
from .._filling import Filling, door_at
from ..worker import serve
from .connector import device_index
from .model_update import NEW, OLD, ModelUpdate, own_key, world_group

_log = logging.getLogger("sglang.ckpt_engine")


class CkptEngineModelLoader(loaders.BaseModelLoader):
    """SGLang makes one for each model, the draft model of speculative decoding included, which waits for an update of its own."""

    def __init__(self, load_config: Any) -> None:
        super().__init__(load_config)
        extra: Dict[str, Any] = dict(load_config.model_loader_extra_config or {})
        port = extra.pop("port", None)
        self._port: Optional[int] = None if port is None else int(port)
        self._partial = bool(extra.pop("partial", False))
        if extra:
            raise ValueError(f"load format ckpt_engine knows the options \"port\" and \"partial\", not {', '.join(sorted(extra))}")

    def download_model(self, model_config: Any) -> None:
        """Nothing is to be downloaded."""

    def load_model(self, *, model_config: Any, device_config: Any) -> Any:
        """Returns when an update has filled the model in all ranks. Waits for it without end: an engine without weights is of no use."""
        self._partial = self._partial or bool(getattr(model_config, "is_draft_model", False))
        quantization = loaders._get_quantization_config(model_config, self.load_config)
        with set_default_torch_dtype(model_config.dtype):
            with torch.device(device_config.device):
                model = loaders._initialize_model(model_config, self.load_config, quantization)
            self.fill(model, device_config.device)
        return model.eval()

    def fill(self, model: Any, device: Any) -> None:
        """Updates `model` until all ranks have all of it. What fails after all has come is raised: a layer that was processed cannot be loaded again."""
        with Filling(world_group(), lambda: door_at(self._port, "sglang")) as filling:
            while True:
                addresses = filling.next_update()
                update = ModelUpdate(model, device, partial=self._partial)
                try:
                    address = addresses[own_key(addresses)]
                    said = self._receive(address, update, device)
                except KeyError as error:  # to be told like any other failure: the others wait for this rank
                    said = answer("", str(error.args[0]), OLD)
                done = filling.tell(said)
                if update.failed_in_commit is not None:
                    raise update.failed_in_commit
                if done:
                    return

    @staticmethod
    def _receive(address: str, update: ModelUpdate, device: Any) -> Dict[str, Any]:
        try:
            with update.watched(), _receiver.Receiver(address) as receiver:
                serve(receiver, device_index(device), update.load, update.check, update.commit)
        except Exception as error:  # noqa: BLE001  whatever a loader raises: all of it is told to the sender
            _log.error("the model was not filled: %s", error)
            return answer(address, f"{type(error).__name__}: {error}", update.weights)
        return answer(address, None, NEW)
