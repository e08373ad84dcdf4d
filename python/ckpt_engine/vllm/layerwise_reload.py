"""An update by vLLM's layerwise reload, with what vLLM leaves to its callers.

vLLM moves the parameters to the meta device, collects what is loaded, and renews a layer when all of it has come, in the memory that it had. It keeps
views of what it was given until then, so what is kept is copied here. It does not say whether all came; ``missing`` does.

Staged: that a layer is complete is noticed and nothing more; ``commit`` renews all layers, ``abort`` gives each its old tensors back.
"""

from __future__ import annotations

import importlib
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from .completeness import missing_names, parameter_names
from .cpu_kernels import drop_expert_kernels, put_back, renew_tied_heads

_NEEDED = ("initialize_layerwise_reload", "finalize_layerwise_reload", "get_layerwise_info", "_layerwise_process", "_place_kernel_tensors",
           "initialize_online_processing", "restore_layer_on_meta")


def layerwise_module() -> Optional[Any]:
    """vLLM's module, or None in a vLLM whose reload is older or other than the one that is known here."""
    try:
        module = importlib.import_module("vllm.model_executor.model_loader.reload.layerwise")
    except ImportError:
        return None
    return module if all(hasattr(module, name) for name in _NEEDED) else None


class LayerwiseReload:
    """Of one model. ``whole``: whether every parameter must come. ``touched``: whether a layer has been renewed, so that the model is no longer the
    old one."""

    def __init__(self, model: Any, config: Any, staged: bool, layerwise: Any, whole: bool) -> None:
        self._model, self._config, self._staged, self._layerwise, self._whole = model, config, staged, layerwise, whole
        self._loaded: Set[str] = set()
        self._expected: Set[str] = set()
        self._dropped: List[Tuple[Any, Any]] = []
        self._prefixes: Dict[Any, str] = {}
        self._begun = False
        self.touched = False

    def load(self, bucket: Sequence[Tuple[str, Any]]) -> None:
        """Whole tensors by their names in the checkpoint; copied."""
        if not self._begun:
            self._begin()
        process = self._layerwise._layerwise_process
        self._layerwise._layerwise_process = self._noticed if self._staged else self._renewed(process)
        try:
            self._loaded |= set(self._model.load_weights((name, tensor.clone()) for name, tensor in bucket) or ())
        finally:
            self._layerwise._layerwise_process = process

    def missing(self) -> List[str]:
        """Names of the checkpoint whose tensors the model needs and that have not come."""
        if not self._begun:
            self._begin()
        return missing_names(self._model, self._config, self._expected, self._loaded, self._info)

    def commit(self) -> None:
        """Renews what has not been renewed. Only after ``missing`` was empty."""
        self.touched = True
        if self._staged:
            self._dropped = drop_expert_kernels(self._model)
            for layer in self._model.modules():
                info = self._info(layer)
                if info.can_load() and info.load_numel >= info.load_numel_total > 0 and not self._is_deferred(layer):
                    self._layerwise._layerwise_process(layer, info)
        self._layerwise.finalize_layerwise_reload(self._model, self._config)
        renew_tied_heads(self._model)
        self._begun = False

    def abort(self) -> None:
        """Gives every layer that was not renewed its old tensors back, so that nothing is left on the meta device."""
        if not self._begun:
            return
        for layer in self._model.modules():
            info = self._info(layer)
            if info.can_load() and info.kernel_tensors is not None:
                self._layerwise._place_kernel_tensors(layer, info)
            info.reset()
        put_back(self._dropped)
        if hasattr(self._model, "_original_do_torchao_reload"):
            self._model._do_torchao_reload = self._model._original_do_torchao_reload
        self._begun = False

    def _begin(self) -> None:
        if not self._staged:
            self._dropped = drop_expert_kernels(self._model)
        for layer in self._model.modules():  # one that an earlier update left in the middle begins anew
            info = self._info(layer)
            if info.can_load() and info.kernel_tensors is not None:
                self._layerwise._place_kernel_tensors(layer, info)
                info.reset()
        self._layerwise.initialize_layerwise_reload(self._model)
        self._expected = {name for name, _ in self._model.named_parameters()} if self._whole else set()
        self._prefixes = {layer: prefix for prefix, layer in self._model.named_modules()}
        self._begun = True

    def _note(self, layer: Any, info: Any) -> None:
        """Keeps what a layer's record says, which is gone when the layer has been renewed."""
        self._loaded.update(parameter_names(self._prefixes.get(layer, ""), info))

    def _info(self, layer: Any) -> Any:
        return self._layerwise.get_layerwise_info(layer)

    def _is_deferred(self, layer: Any) -> bool:
        """Attention comes after all other layers. vLLM before 0.30 has no function that says which layers those are."""
        says = getattr(self._layerwise, "is_deferred_attention_layer", None)
        return bool(says(layer) if says else isinstance(layer, (self._layerwise.Attention, self._layerwise.MLAAttention)))

    @staticmethod
    def _noticed(layer: Any, info: Any) -> None:
        """In the place of vLLM's function that renews a layer."""

    def _renewed(self, process: Any) -> Any:
        def renew(layer: Any, info: Any) -> None:
            self.touched = True
            self._note(layer, info)
            process(layer, info)

        return renew
