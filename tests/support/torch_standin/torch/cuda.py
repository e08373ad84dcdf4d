"""One device that is always in step."""

import os


def is_available() -> bool:
    return True


def device_count() -> int:
    return 1


def is_initialized() -> bool:
    return True


def synchronize(device=None) -> None:
    pass


def empty_cache() -> None:
    pass


def ipc_collect() -> None:
    pass


class OutOfMemoryError(RuntimeError):
    pass


def open_memory(handle: bytes, size: int) -> memoryview:
    """What cudaIpcOpenMemHandle does, for the handle of a software GPU, which is a name in POSIX shared memory, or else one that is the path of a file."""
    import mmap

    name = handle.rstrip(b"\0")
    path = b"/dev/shm" + name if name.startswith(b"/ckpt-fake-gpu-") else name
    fd = os.open(path, os.O_RDONLY)
    try:
        return memoryview(mmap.mmap(fd, size, prot=mmap.PROT_READ))
    finally:
        os.close(fd)
