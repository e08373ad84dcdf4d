"""Makes the names ``ckpt_engine`` known to vLLM: a weight-transfer backend and a load format. A vLLM that has no place for one of them goes without."""

from __future__ import annotations

NAME = "ckpt_engine"


def register_backend() -> None:
    """``--weight-transfer-config '{"backend": "ckpt_engine"}'`` is understood afterwards. Harmless when repeated."""
    try:
        from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
    except ImportError:
        return
    if NAME not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(NAME, "ckpt_engine.vllm.weight_transfer_engine", "CkptWeightTransferEngine")


def register_load_format() -> None:
    """``--load-format ckpt_engine`` is understood afterwards. Harmless when repeated."""
    try:
        from vllm.model_executor import model_loader

        from .filling_loader import CkptModelLoader
    except ImportError:
        return
    if hasattr(model_loader, "register_model_loader") and NAME not in getattr(model_loader, "_LOAD_FORMAT_TO_MODEL_LOADER", {}):
        model_loader.register_model_loader(NAME)(CkptModelLoader)
