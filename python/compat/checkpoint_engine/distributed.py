"""ckpt_engine.distributed."""

from ckpt_engine.distributed import *  # noqa: F403
from ckpt_engine.distributed import __all__  # noqa: F401
