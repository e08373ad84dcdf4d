"""One update of the models of a vLLM worker: the model and, with speculative decoding, its draft model.

::

    load(bucket) …  ->  check()  ->  commit()          abort() after any error

On the CPU the update is *staged*: what comes is copied and kept, nothing changes before ``commit``, and a refused update leaves the old weights in
service. On a GPU there is no room for that: layers are renewed as they become complete, and an error in between leaves the weights *torn*: some layers
old, some new. The next complete update mends that.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterable, Iterator, List, Optional, Set, Tuple, Union

from .. import errors

from .layerwise_reload import LayerwiseReload, layerwise_module
from .plain_reload import PlainReload

OLD, NEW, TORN = "old", "new", "torn"
_STATE = "_ckpt_engine_torn"
_MAX_NAMES = 8


class IncompleteUpdate(errors.InvalidArgumentError):
    """Tensors that the model needs did not come; ``names`` are those of the checkpoint."""

    def __init__(self, names: List[str]) -> None:
        self.names = names
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        super().__init__(f"incomplete update: {len(names)} tensors did not come: {', '.join(names[:_MAX_NAMES])}{more}")


class ModelUpdate:
    """``worker``: vLLM's worker, with ``model_runner``, ``vllm_config``, ``model_config`` and ``device``. Threads: one.

    ``staged``: None lets the device decide. ``weights`` is what the worker would serve now: ``old``, ``new`` or ``torn``.
    """

    def __init__(self, worker: Any, staged: Optional[bool] = None) -> None:
        self._worker = worker
        self.staged = getattr(worker.device, "type", "") == "cpu" if staged is None else staged
        self.weights = TORN if is_torn(worker) else OLD
        self._names: Set[str] = set()
        self._layerwise = layerwise_module()
        self._reloads = [self._reload(model, config, drafts) for drafts, (model, config) in enumerate(_models(worker))]

    def _reload(self, model: Any, config: Any, drafts: int) -> Union[LayerwiseReload, PlainReload]:
        """A draft model takes what it knows of the target's checkpoint: of it, only parts of what came are required."""
        if self._layerwise is None:
            return PlainReload(model, config, self._worker.device, whole=drafts == 0)
        return LayerwiseReload(model, config, self.staged, self._layerwise, whole=drafts == 0)

    def load(self, tensors: Iterable[Tuple[str, Any]]) -> None:
        """One bucket of (name in the checkpoint, whole tensor). Nothing of it is referred to afterwards: what is kept is copied.

        ValueError: a name that came before. What the model's own loader raises passes through: an unknown name, a wrong shape.
        """
        bucket = list(tensors)
        for name, _ in bucket:
            if name in self._names:
                raise ValueError(f"tensor {name} comes twice in one update")
            self._names.add(name)
        with self._config():
            for reload in self._reloads:
                try:
                    reload.load(bucket)
                finally:
                    if reload.touched:
                        self._tear()

    def check(self) -> None:
        """Everything has come? IncompleteUpdate says what has not; nothing is changed by asking."""
        missing = [name for reload in self._reloads for name in reload.missing()]
        if missing:
            raise IncompleteUpdate(missing)

    def commit(self) -> None:
        """Puts the update in force: checks once more, then processes and renews what the engine computes with."""
        self.check()
        self._tear()
        with self._config():
            for reload in self._reloads:
                reload.commit()
        for forget in ("reset_encoder_cache", "reset_mm_cache", "reset_lora_state"):
            getattr(self._worker.model_runner, forget, lambda: None)()
        setattr(self._worker, _STATE, False)
        self.weights = NEW

    def abort(self) -> None:
        """Gives up what has not been committed. ``weights`` tells what is left in service."""
        if self.weights == NEW:
            return
        with self._config():
            for reload in self._reloads:
                reload.abort()

    def _tear(self) -> None:
        self.weights = TORN
        setattr(self._worker, _STATE, True)

    @contextlib.contextmanager
    def _config(self) -> Iterator[None]:
        if self._layerwise is None:
            yield
            return
        from vllm.config import set_current_vllm_config

        with set_current_vllm_config(self._worker.vllm_config):
            yield


def is_torn(worker: Any) -> bool:
    """Whether an update of ours ended in the middle of ``worker``'s weights and none has mended them since."""
    return bool(getattr(worker, _STATE, False))


def _models(worker: Any) -> List[Tuple[Any, Any]]:
    """The model, and the draft model where there is one that has weights of its own, each with its configuration."""
    runner = worker.model_runner
    models = [(runner.get_model() if hasattr(runner, "get_model") else runner.model, worker.model_config)]
    draft = getattr(getattr(runner, "drafter", None), "model", None)
    if draft is not None and hasattr(draft, "load_weights"):
        speculative = getattr(getattr(worker, "vllm_config", None), "speculative_config", None)
        models.append((draft, getattr(speculative, "draft_model_config", None) or worker.model_config))
    return models
