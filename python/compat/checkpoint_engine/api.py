"""ckpt_engine.api."""

from ckpt_engine.api import _init_api, request_inference_to_update

__all__ = ["_init_api", "request_inference_to_update"]
