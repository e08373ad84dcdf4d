"""What ckpt-engine adds to SGLang: the load format ``ckpt_engine``, urls ``ckptengine://``, and the route ``/update_weights_from_ckpt_engine``.

Importing this package imports neither SGLang nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connector import CkptEngineConnector
    from .model_loader import CkptEngineModelLoader

__all__ = ["CkptEngineConnector", "CkptEngineModelLoader", "register"]


def register() -> None:
    """Entry point of the group ``sglang.srt.plugins``: SGLang calls it in the server and in each scheduler, perhaps repeatedly."""
    from .plug_in import register_here

    register_here()


def __getattr__(name: str) -> Any:
    if name == "CkptEngineConnector":
        from .connector import CkptEngineConnector

        return CkptEngineConnector
    if name == "CkptEngineModelLoader":
        from .model_loader import CkptEngineModelLoader

        return CkptEngineModelLoader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
