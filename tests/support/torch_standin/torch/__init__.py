"""A stand-in for torch where there is no GPU: what the workers of checkpoint-engine and ours use of it, over plain memory.

Everything that the engine channel's pickles name is here under its real name. A CUDA IPC handle is that of a software GPU, or the path of a file (cuda.open_memory).
"""

from math import prod

from . import cuda, multiprocessing, storage  # noqa: F401


class dtype:  # noqa: N801
    def __init__(self, name: str, itemsize: int):
        self.name, self.itemsize = name, itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return self.name  # as in torch: a global of this module


_ITEM_SIZES = {
    1: "bool uint8 int8 float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz",
    2: "int16 uint16 float16 bfloat16",
    4: "int32 uint32 float32",
    8: "int64 uint64 float64",
}
for _size, _names in _ITEM_SIZES.items():
    for _name in _names.split():
        globals()[_name] = dtype(_name, _size)


__version__ = "0"


class Size(tuple):
    def numel(self) -> int:
        return prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __reduce__(self):
        return Size, (tuple(self),)


class Tensor:
    """Contiguous bytes with an element type and a shape."""

    def __init__(self, data: memoryview, of: dtype, shape: Size):
        assert len(data) == of.itemsize * shape.numel()
        self.data, self.dtype, self.shape = data, of, shape

    def __getitem__(self, part: slice) -> "Tensor":
        assert self.dtype is globals()["uint8"] and len(self.shape) == 1 and part.step is None
        cut = self.data[part]
        assert len(cut) == part.stop - (part.start or 0), "outside the buffer"
        return Tensor(cut, self.dtype, Size((len(cut),)))

    def numel(self) -> int:
        return self.shape.numel()

    def storage_offset(self) -> int:
        return 0  # as_strided is used on whole buffers only

    def view(self, to=None, *, dtype: dtype | None = None) -> "Tensor":
        if isinstance(to, globals()["dtype"]):
            to, dtype = None, to
        if dtype is not None:
            assert len(self.data) % dtype.itemsize == 0
            return Tensor(self.data, dtype, Size((len(self.data) // dtype.itemsize,)))
        return Tensor(self.data, self.dtype, Size(to))


def frombuffer(memory, *, dtype: dtype) -> Tensor:
    data = memoryview(memory)
    return Tensor(data, dtype, Size((len(data) // dtype.itemsize,)))


def as_strided(tensor: Tensor, shape: tuple, stride: tuple, storage_offset: int) -> Tensor:
    """Of a flat tensor, without gaps."""
    assert len(tensor.shape) == 1 and stride == tuple(prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))
    begin, size = storage_offset * tensor.dtype.itemsize, prod(shape) * tensor.dtype.itemsize
    assert begin + size <= len(tensor.data), "outside the buffer"
    return Tensor(tensor.data[begin : begin + size], tensor.dtype, Size(shape))
