"""The backend ``ckpt_engine`` of vLLM's weight-transfer routes. Imports vLLM: loaded by it alone.

::

    POST /init_weight_transfer_engine {"init_info": {}}
    POST /start_weight_update
    POST /update_weights {"update_info": {"zmq_handles": {"<device key>": "ipc:///…", …}}}        the address map of ParameterServer.update's req_func
    POST /finish_weight_update {"weight_version": "step-7"}

One ``/update_weights`` is one whole session with a sender. Weights are put in force by ``/finish_weight_update``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Dict, Optional

from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo

from .. import _receiver, errors
from ..worker import device_index, device_key, serve
from .model_update import ModelUpdate


@dataclass
class CkptInitInfo(WeightTransferInitInfo):
    """Nothing is to be known before an update."""


@dataclass
class CkptUpdateInfo(WeightTransferUpdateInfo):
    """``zmq_handles``: device key → address, of all workers of the engine."""

    zmq_handles: Dict[str, str] = field(default_factory=dict)


class CkptWeightTransferEngine(WeightTransferEngine[CkptInitInfo, CkptUpdateInfo]):
    """Of one worker. vLLM calls it from the worker's main thread, in the order of the routes above."""

    init_info_cls = CkptInitInfo
    update_info_cls = CkptUpdateInfo

    _update: Optional[ModelUpdate] = None

    def init_transfer_engine(self, init_info: CkptInitInfo) -> None:
        """Nothing is opened before an update."""

    def start_weight_update(self) -> None:
        """Gives up an update that was not finished."""
        if self._update is not None:
            self._update.abort()
        self._update = ModelUpdate(self._worker())

    def receive_weights(self, update_info: CkptUpdateInfo) -> None:
        """Raises what the session or the model's loader raises; then the old weights are in service, or torn ones (see model_update)."""
        assert self._update is not None  # vLLM sees to the order
        worker = self._worker()
        try:
            with _receiver.Receiver(update_info.zmq_handles[device_key(worker, update_info.zmq_handles)]) as receiver:
                serve(receiver, device_index(worker), self._update.load, self._update.check)
        except BaseException:
            self._update.abort()
            raise

    def finish_weight_update(self) -> None:
        """Raises IncompleteUpdate when the model lacks something; then nothing has changed, or the weights are torn."""
        assert self._update is not None
        update, self._update = self._update, None
        try:
            update.commit()
        except BaseException:
            update.abort()
            raise

    def shutdown(self) -> None:
        """Gives up an update that was not finished."""
        if self._update is not None:
            self._update.abort()
            self._update = None

    @staticmethod
    def trainer_send_weights(iterator: Any, trainer_args: Any) -> None:
        """vLLM's form of a sender, which some versions ask of every backend: ours is a program of its own, or `ParameterServer`. Raises UnsupportedError."""
        raise errors.UnsupportedError("the backend ckpt_engine receives only", advice="send with ckpt-engine update or ckpt_engine.ps.ParameterServer")

    def _worker(self) -> Any:
        """What ModelUpdate needs of a worker."""
        if not hasattr(self, "_view"):
            rank = getattr(self.parallel_config, "rank", 0)
            self._view = SimpleNamespace(device=self.device, rank=rank, model_config=self.model_config, vllm_config=self.vllm_config)
            self._view.model_runner = SimpleNamespace(model=self.model)
        return self._view
