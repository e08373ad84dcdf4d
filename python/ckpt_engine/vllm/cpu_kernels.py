"""What vLLM's reload leaves stale on the CPU (seen in 0.32.0): weights that a kernel has packed for itself.

Both are wrong answers without an error, and both are harmless to do on a GPU, where nothing is packed so.
"""

from __future__ import annotations

from typing import Any, List, Tuple


def drop_expert_kernels(model: Any) -> List[Tuple[Any, Any]]:
    """Expert layers pack their weights only while they have no kernel yet: without one, the reload makes it, and packs, anew. Returns what was
    dropped."""
    dropped = []
    for layer in model.modules():
        method = getattr(layer, "quant_method", None)
        kernel = getattr(method, "moe_kernel", None)
        if kernel is not None and _on_cpu(layer):
            dropped.append((method, kernel))
            setattr(method, "moe_kernel", None)
    return dropped


def put_back(dropped: List[Tuple[Any, Any]]) -> None:
    """Gives the kernels back to those layers that were not renewed."""
    for method, kernel in dropped:
        if method.moe_kernel is None:
            method.moe_kernel = kernel


def renew_tied_heads(model: Any) -> None:
    """An output layer tied to the embedding has a packed copy of it, and gets no weights of its own in a reload: it is packed again."""
    for layer in model.modules():
        method: Any = getattr(layer, "quant_method", None)
        if type(method).__name__ == "UnquantizedEmbeddingMethod" and _on_cpu(layer):
            method.process_weights_after_loading(layer)


def _on_cpu(layer: Any) -> bool:
    """Whether it has parameters, in the host's memory or, during a reload, nowhere."""
    return any(parameter.device.type in ("cpu", "meta") for parameter in layer.parameters())
