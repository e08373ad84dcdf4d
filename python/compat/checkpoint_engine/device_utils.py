"""ckpt_engine.device_utils."""

from ckpt_engine.device_utils import DeviceManager, get_ip, has_efa_pci, npu_generate_uuid

__all__ = ["DeviceManager", "get_ip", "has_efa_pci", "npu_generate_uuid"]
