"""What scripts ask about this host and its devices."""

from __future__ import annotations

import glob
import os
import socket
import sys
from functools import lru_cache
from typing import Any

from . import errors


@lru_cache(maxsize=1)
def get_ip() -> str:
    """This host's address, as others reach it: that of the interface with the default route, else that of its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: finds the interface
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostbyname(socket.gethostname())


def npu_generate_uuid() -> str:
    """Raises UnsupportedError: there is no support of NPUs."""
    raise errors.UnsupportedError("NPUs are not supported", advice="use GPUs, or host memory with CKPT_DEVICE=host")


def has_efa_pci() -> bool:
    """Whether this host has a network card of Amazon's (EFA)."""
    for card in glob.glob("/sys/class/infiniband/*/device/vendor"):
        with open(card, encoding="ascii", errors="replace") as vendor:
            if vendor.read().strip() == "0x1d0f":
                return True
    return False


class DeviceManager:
    """The kind of device that ranks of this process use: `device_type` is "cuda" or "host"."""

    def __init__(self) -> None:
        wanted = os.environ.get("CKPT_DEVICE", "auto")
        if wanted not in ("auto", "cuda", "host"):
            raise errors.InvalidArgumentError(f"CKPT_DEVICE={wanted}: give auto, cuda or host")
        torch = sys.modules.get("torch")
        has_cuda = torch.cuda.is_available() if torch is not None else os.path.exists("/dev/nvidiactl")
        self.device_type = wanted if wanted != "auto" else "cuda" if has_cuda else "host"

    @property
    def device_module(self) -> Any:
        """torch.cuda. Raises UnsupportedError in host memory, where torch has no such module."""
        if self.device_type != "cuda":
            raise errors.UnsupportedError("host memory has no module of torch's")
        import torch

        return torch.cuda

    @property
    def backend(self) -> str:
        """What moves weights between ranks: "nccl" or "ucx"."""
        return "nccl" if self.device_type == "cuda" else "ucx"
