"""One update of a model of SGLang's, in place.

::

    with update.watched():  load(bucket) …  ->  check()  ->  commit()

SGLang keeps no second copy of the weights: an error after the first bucket leaves them *torn*, some old, some new. The next complete update mends that.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from .. import _receiver, errors
from ..worker import key_among, serve
from .pairs import Pairs
from .watched_loaders import WatchedLoaders

OLD, NEW, TORN = "old", "new", "torn"
TORN_TEXT = "the weights are torn: some old, some new"  # of an update's message: what the server looks for
_STATE = "_ckpt_engine_torn"
_MAX_NAMES = 8


class ModelUpdate:
    """``partial``: parameters of which nothing comes are well. ``weights``: what the model has now. ``failed_in_commit``: what went wrong there."""

    def __init__(self, model: Any, device: Any, partial: bool = False) -> None:
        self._model, self._device, self._partial = model, device, partial
        self._names: Set[str] = set()
        self._pairs = Pairs()
        self._loaders = WatchedLoaders(model)
        self.weights = TORN if getattr(model, _STATE, False) else OLD
        self.failed_in_commit: Optional[Exception] = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """What the model's loader puts where is noted from here to the end of ``with``."""
        with self._loaders:
            yield

    def load(self, tensors: Iterable[Tuple[str, Any]]) -> None:
        """One bucket of (name in the checkpoint, whole tensor). Raises ValueError for a name that came before; what the model's loader raises passes
        through."""
        bucket = list(tensors)
        for name, _ in bucket:
            if name in self._names:
                raise ValueError(f"tensor {name} comes twice in one update")
            self._names.add(name)
        self._put(self._pairs.together(bucket))

    def check(self) -> None:
        """Everything has come? Raises InvalidArgumentError with the names of the parameters that lack something."""
        self._put(self._pairs.rest())
        self._tie()
        missing = [] if self._partial else self._loaders.missing()
        if missing:
            more = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
            raise errors.InvalidArgumentError(f"incomplete update: {len(missing)} parameters lack tensors: {', '.join(missing[:_MAX_NAMES])}{more}")

    def commit(self) -> None:
        """What SGLang does after loading: layers are processed (quantisation), and the model derives what it computes from its weights."""
        import torch
        from sglang.srt.model_loader.loader import device_loading_context

        try:
            for module in self._model.modules():
                method = getattr(module, "quant_method", None)
                if method is not None and hasattr(method, "process_weights_after_loading"):
                    with device_loading_context(module, torch.device(self._device)):
                        method.process_weights_after_loading(module)
            if hasattr(self._model, "post_load_weights"):
                self._model.post_load_weights()
        except Exception as error:
            self.failed_in_commit = error
            raise
        setattr(self._model, _STATE, False)
        self.weights = NEW

    def _tie(self) -> None:
        """An output layer that is the embedding has no tensor of its own in checkpoints; some of SGLang's models have one for it, and leave it as it was."""
        if not getattr(getattr(self._model, "config", None), "tie_word_embeddings", False):
            return
        parameters = dict(self._model.named_parameters())
        head = parameters.get("lm_head.weight")
        embedding = next((parameter for name, parameter in parameters.items() if name.endswith("embed_tokens.weight")), None)
        if head is not None and embedding is not None and self._loaders.untouched("lm_head.weight") and head.shape == embedding.shape:
            self._tear()
            head.data.copy_(embedding.data)
            self._loaders.note("lm_head.weight")

    def _put(self, bucket: List[Tuple[str, Any]]) -> None:
        if bucket:
            self._tear()
            self._model.load_weights(bucket)

    def _tear(self) -> None:
        self.weights = TORN
        setattr(self._model, _STATE, True)


def update_model_runner(model_runner: Any, zmq_handles: Dict[str, str]) -> None:
    """In a scheduler: receives one update into the runner's model. Raises KeyError where this rank has no sender; what went wrong is told to the sender too,
    and raised, with TORN_TEXT where that is so."""
    import torch

    device = torch.device(getattr(model_runner, "device", "cuda"))
    device_id = None if device.type == "cpu" else torch.cuda.current_device()
    drafts = bool(getattr(model_runner, "is_draft_worker", False))  # such a model takes what it knows of the target's checkpoint
    update = ModelUpdate(model_runner.model, device, partial=drafts)
    try:
        with update.watched(), _receiver.Receiver(zmq_handles[own_key(zmq_handles)]) as receiver:
            serve(receiver, device_id, update.load, update.check, update.commit)
    except Exception as error:
        if update.weights == TORN:
            raise RuntimeError(f"{type(error).__name__}: {error}; {TORN_TEXT}") from error
        raise


def world_group() -> Any:
    """SGLang's coordinator of all ranks of this engine; None before there is one."""
    from sglang.srt.distributed import parallel_state

    return getattr(parallel_state, "_WORLD", None)


def own_key(zmq_handles: Dict[str, str]) -> str:
    """The key of this rank's sender."""

    def uuid() -> str:
        import torch

        return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid!s}"

    group = world_group()
    return key_among(zmq_handles, 0 if group is None else int(group.rank_in_group), uuid)
