"""The first weights of a model that vLLM has made and not processed yet: they are loaded into the model's own parameters, and vLLM goes on as after its
own loader. Nothing is made up before, and nothing is repacked twice.

What has come is kept by vLLM's layerwise reload until a layer is whole, and told by it, as in an update: so one that lacks something is refused here too.
"""

from __future__ import annotations

from typing import Any, List

from .layerwise_reload import LayerwiseReload, layerwise_module
from .model_update import ModelUpdate


class FirstUpdate(ModelUpdate):
    """An update into an unprocessed model. After one that fails, layers are filled in part: another must come before the model is used."""

    def _reload(self, model: Any, config: Any, drafts: int) -> FirstFill:
        return FirstFill(model, config, False, self._layerwise, whole=drafts == 0)


class FirstFill(LayerwiseReload):
    """Of one model. A layer whose tensors have all come gets its own parameters back, and they what came."""

    def commit(self) -> None:
        """Fills what is not counted as whole: attention's scales, parameters that the engine pads."""
        for layer in self._model.modules():
            info = self._info(layer)
            if info.can_load():
                self._fill(layer, info)
        if hasattr(self._model, "_original_do_torchao_reload"):
            self._model._do_torchao_reload = self._model._original_do_torchao_reload
        self._begun = False

    def _renewed(self, process: Any) -> Any:
        """In the place of vLLM's function that processes a whole layer."""
        return self._fill

    def _fill(self, layer: Any, info: Any) -> None:
        self.touched = True
        self._note(layer, info)
        self._layerwise._place_kernel_tensors(layer, info)
        for name, call in info.loaded_weights:
            call.arguments["param"] = parameter = getattr(layer, name)
            self._layerwise._get_original_loader(parameter)(*call.args, **call.kwargs)
        for tensor in [*layer._parameters.values(), *layer._buffers.values()]:  # of those that were never moved, a bias, the reload's loader is left
            if hasattr(tensor, "weight_loader") and self._layerwise._get_original_loader(tensor) is not tensor.weight_loader:
                tensor.weight_loader = self._layerwise._get_original_loader(tensor)
        info.reset()


def can_fill(model: Any) -> bool:
    """Whether this vLLM and this model can be filled so: not where layers are quantized while they load, which vLLM does by the same means."""
    layerwise = layerwise_module()
    if layerwise is None or not hasattr(layerwise, "_get_original_loader"):
        return False
    layers: List[Any] = list(model.modules())
    return not any(layerwise.get_layerwise_info(layer).can_load() for layer in layers)
