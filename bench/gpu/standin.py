"""Lets workers and the reference run where there is no GPU, to try the harness and tests/gpu: the software GPU (tests/fake_cuda) for our sender, host memory
and gloo for the reference, torch for CPUs in all. Times mean nothing.

install() replaces those functions of torch.cuda that workers call, and torch's opening of a handle: the software GPU's handle is the name of a shared object.
"""

import mmap
import types

import torch

DEVICES = 2


def uuid(index: int) -> str:
    """As the software GPU makes it."""
    return f"{0xF0 - index:02x}fa4e00-0000-4000-8000-00000000{index:02x}00"


def open_handle(*arguments):
    """In place of rebuild_cuda_tensor: argument 7 is the handle, 8 the size."""
    handle, size = arguments[7], arguments[8]
    with open("/dev/shm/" + handle.split(b"\0")[0].decode().strip("/"), "r+b") as file:
        return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=torch.uint8)


def open_host_buffer(manager, handle, size, *_):
    storage = torch.UntypedStorage._new_shared_filename_cpu(manager, handle, size)
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def share_host_buffer(tensor):
    storage = tensor.untyped_storage()
    storage._share_filename_cpu_()
    manager, handle, size = storage._share_filename_cpu_()
    return open_host_buffer, (manager, handle, size, 0, 0, 0, 0)


def install() -> None:
    import torch.multiprocessing.reductions as reductions

    torch.multiprocessing.set_sharing_strategy("file_system")
    reductions.rebuild_cuda_tensor = open_handle
    for name in ("set_device", "synchronize", "empty_cache", "ipc_collect"):
        setattr(torch.cuda, name, lambda *_, **__: None)
    for name in ("memory_allocated", "memory_reserved"):
        setattr(torch.cuda, name, lambda *_, **__: 0)
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: DEVICES
    torch.cuda.mem_get_info = lambda *_: (1 << 28, 1 << 30)
    torch.cuda.get_device_properties = lambda index: types.SimpleNamespace(uuid=uuid(index))


def install_sender() -> None:
    """For the reference."""
    install()
    import checkpoint_engine.ps as library
    from checkpoint_engine.device_utils import DeviceManager

    library.reduce_tensor = share_host_buffer
    DeviceManager._detect_device_type = lambda self: "cpu"
    DeviceManager._setup_device_module = lambda self: setattr(self, "device_module", torch.cuda)
    DeviceManager.backend = property(lambda self: "gloo")
    empty = torch.empty
    torch.empty = lambda *sizes, pin_memory=False, **keywords: empty(*sizes, **keywords)
