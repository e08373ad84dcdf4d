"""Lets reference.py and workers.py run where there is no GPU, to try the harness: host memory for the GPU's, gloo for NCCL. Its times mean nothing.

Only between the two of them: handles are torch's own for shared host memory.
"""

import types

import torch


def open_buffer(manager, handle, size, *_):
    storage = torch.UntypedStorage._new_shared_filename_cpu(manager, handle, size)
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def share_buffer(tensor):
    storage = tensor.untyped_storage()
    storage._share_filename_cpu_()
    manager, handle, size = storage._share_filename_cpu_()
    return open_buffer, (manager, handle, size, 0, 0, 0, 0)


def install():
    """Puts the stand-in in place; returns what takes the place of torch.cuda."""
    torch.multiprocessing.set_sharing_strategy("file_system")

    def nothing(*_, **__):
        pass

    device = types.SimpleNamespace(
        device_count=lambda: 2, set_device=nothing, synchronize=nothing, empty_cache=nothing, ipc_collect=nothing, memory_allocated=lambda: 0, memory_reserved=lambda: 0,
        mem_get_info=lambda *_: (1 << 28, 1 << 30), get_device_properties=lambda index: types.SimpleNamespace(uuid=f"stand-in-{index}"),
    )
    import checkpoint_engine.ps as library
    from checkpoint_engine.device_utils import DeviceManager

    DeviceManager._detect_device_type = lambda self: "cpu"
    DeviceManager._setup_device_module = lambda self: setattr(self, "device_module", device)
    DeviceManager.backend = property(lambda self: "gloo")
    library.reduce_tensor = share_buffer
    empty = torch.empty
    torch.empty = lambda *sizes, pin_memory=False, **keywords: empty(*sizes, **keywords)
    return device
