"""What ckpt-engine does inside a vLLM worker: a worker's update of its models, and vLLM's plug-in entry point.

``model_update.ModelUpdate`` puts one update into the models of a worker; ``ckpt_engine.worker.VllmColocateWorkerExtension`` feeds it what it
receives. Importing this package imports neither vLLM nor torch.
"""

from __future__ import annotations

__all__ = ["register"]


def register() -> None:
    """Entry point of the group ``vllm.general_plugins``: vLLM calls it in the API server, in the engine and in each worker, perhaps repeatedly."""
    from .plug_in import register_backend, register_load_format

    register_backend()
    register_load_format()
