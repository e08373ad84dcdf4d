"""ckpt_engine.worker: what engines import."""

from ckpt_engine.worker import FlattenedTensorMetadata, VllmColocateWorkerExtension, update_weights_from_ipc

__all__ = ["FlattenedTensorMetadata", "VllmColocateWorkerExtension", "update_weights_from_ipc"]
