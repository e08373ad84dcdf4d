"""An update of a vLLM without layerwise reload: weights are loaded in place, then processed as after the first load."""

from __future__ import annotations

from typing import Any, List, Set, Tuple


class PlainReload:
    """Of one model. ``whole``: whether every parameter must come. ``touched``: whether anything has been loaded, so that the model is no longer the
    old one."""

    def __init__(self, model: Any, config: Any, device: Any, whole: bool) -> None:
        self._model, self._config, self._device = model, config, device
        self._loaded: Set[str] = set()
        self._tells = whole
        self.touched = False

    def load(self, bucket: List[Tuple[str, Any]]) -> None:
        """Whole tensors by their names in the checkpoint; not referred to afterwards."""
        self.touched = True
        loaded = self._model.load_weights(bucket)
        self._tells = self._tells and loaded is not None
        self._loaded |= set(loaded or ())

    def missing(self) -> List[str]:
        """Parameters of which nothing has come, where the model's loader tells and the parameters are those of the checkpoint."""
        if not self._tells or getattr(self._config, "quantization", None) is not None:
            return []
        return sorted({name for name, _ in self._model.named_parameters()} - self._loaded)

    def commit(self) -> None:
        """Post-load work."""
        from vllm.model_executor.model_loader.utils import process_weights_after_loading

        self.touched = True
        process_weights_after_loading(self._model, self._config, self._device)

    def abort(self) -> None:
        """What was loaded stays."""
