"""ckpt_engine.api."""

from ckpt_engine.api import request_inference_to_update

__all__ = ["request_inference_to_update"]
