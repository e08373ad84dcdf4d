"""Tensors of several kinds as the library sees them: where they lie, without a copy where there are no gaps."""

import array
import ctypes
import gc
import sys
import types
import weakref

import numpy
import pytest
from ckpt_engine import errors
from ckpt_engine._tensors import NamedTensors


def seen(tensor):
    """Dtype, shape, bytes, and the address of a tensor as the library gets it."""
    tensors = NamedTensors({"model.weight": tensor})
    (place,) = tensors.array
    assert (place.name, place.on_device) == (b"model.weight", 0)
    return (
        place.dtype.decode(),
        tuple(place.shape[: place.num_dimensions]),
        ctypes.string_at(place.data, place.bytes),
        place.data,
    )


NUMPY = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpy_arrays_are_read_where_they_lie(name):
    given = numpy.arange(6).reshape(2, 3).astype(name)
    given.flags.writeable = False
    assert seen(given) == (NUMPY[name], (2, 3), given.tobytes(), given.__array_interface__["data"][0])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_shapes_without_an_extent_are_shapes(shape):
    assert seen(numpy.zeros(shape, "float32"))[1] == shape


def test_arrays_with_gaps_are_made_whole():
    given = numpy.arange(12, dtype="int32").reshape(3, 4)
    for cut in (given.T, given[:, 1:3], given[::2], given[::-1]):
        assert seen(cut)[:3] == ("I32", cut.shape, cut.tobytes())


def test_buffers_are_read_where_they_lie():
    given = bytearray(b"abcdef")
    assert seen(given) == ("U8", (6,), b"abcdef", ctypes.addressof(ctypes.c_char.from_buffer(given)))
    assert seen(b"abc")[:3] == ("U8", (3,), b"abc")
    assert seen(array.array("d", [1, 2]))[:2] == ("F64", (2,))
    assert seen(array.array("l", [1]))[:2] == ("I64", (1,))
    assert seen(memoryview(bytearray(range(8)))[::2])[:3] == ("U8", (4,), bytes([0, 2, 4, 6]))
    assert seen((ctypes.c_float * 3)(1, 2, 3))[:2] == ("F32", (3,))


class OnlyDlpack:
    def __init__(self, inner, kind=None):
        self.inner, self.kind = inner, kind

    def __dlpack__(self, **arguments):
        return self.inner.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.inner.__dlpack_device__() if self.kind is None else (self.kind, 0)


def test_dlpack_is_read_where_it_lies_and_given_back():
    given = numpy.arange(6, dtype="float32").reshape(2, 3)
    gone = weakref.ref(given)
    assert seen(OnlyDlpack(given)) == ("F32", (2, 3), given.tobytes(), given.ctypes.data)
    assert seen(OnlyDlpack(given[1]))[2] == given[1].tobytes()
    del given
    gc.collect()
    assert gone() is None


def test_dlpack_with_gaps_or_elsewhere_is_refused():
    given = numpy.arange(6, dtype="float32").reshape(2, 3)
    with pytest.raises(
        errors.InvalidArgumentError, match=r"tensor w: its memory has gaps: shape \[3, 2\], strides \[1, 3\]"
    ):
        NamedTensors({"w": OnlyDlpack(given.T)})
    with pytest.raises(errors.UnsupportedError, match="tensor w: it lies on a device of DLPack's kind 10"):
        NamedTensors({"w": OnlyDlpack(given, kind=10)})


def test_tensors_stay_while_they_are_named():
    given = numpy.zeros(3)
    gone = weakref.ref(given)
    tensors = NamedTensors({"w": given})
    del given
    assert gone() is not None and len(tensors) == 1
    del tensors
    assert gone() is None


@pytest.mark.parametrize(
    "wrong, why",
    [
        ("text", "builtins.str is no tensor"),
        (numpy.zeros(2, ">f4"), "no dtype"),
        (numpy.zeros(2, "M8[s]"), "no dtype"),
        (array.array("u", "a"), "no dtype"),
    ],
)
def test_what_is_no_tensor_is_named(wrong, why):
    with pytest.raises(errors.InvalidArgumentError, match=f"tensor model.norm: .*{why}"):
        NamedTensors({"model.norm": wrong})


class FakeTorchTensor:
    """What is used of torch.Tensor, over numpy: torch itself is not among the tests' packages."""

    def __init__(self, inner, dtype, device="cpu"):
        self.inner, self.dtype, self.device, self.shape = inner, dtype, types.SimpleNamespace(type=device), inner.shape

    def detach(self):
        return self

    def contiguous(self):
        return FakeTorchTensor(numpy.ascontiguousarray(self.inner), self.dtype, self.device.type)

    def data_ptr(self):
        return self.inner.ctypes.data

    def numel(self):
        return self.inner.size

    def element_size(self):
        return self.inner.itemsize


@pytest.fixture
def torch(monkeypatch):
    waited = []
    stream = types.SimpleNamespace(synchronize=lambda: waited.append("stream"))
    cuda = types.SimpleNamespace(current_stream=lambda device: stream)
    module = types.SimpleNamespace(Tensor=FakeTorchTensor, cuda=cuda, waited=waited)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


def test_torch_tensors_are_read_where_they_lie(torch):
    given = FakeTorchTensor(numpy.arange(6, dtype="uint16").reshape(2, 3), "torch.bfloat16")
    assert seen(given) == ("BF16", (2, 3), given.inner.tobytes(), given.inner.ctypes.data)


def test_what_makes_a_gpu_tensor_is_waited_for(torch):
    (place,) = NamedTensors({"w": FakeTorchTensor(numpy.zeros(4, "float32"), "torch.float32", "cuda")}).array
    assert (place.on_device, place.bytes, torch.waited) == (1, 16, ["stream"])


def test_torch_tensors_elsewhere_and_of_other_dtypes_are_refused(torch):
    with pytest.raises(errors.UnsupportedError, match="tensor w: it lies on"):
        NamedTensors({"w": FakeTorchTensor(numpy.zeros(4), "torch.float64", "meta")})
    with pytest.raises(errors.InvalidArgumentError, match="no dtype torch.qint8"):
        NamedTensors({"w": FakeTorchTensor(numpy.zeros(4, "int8"), "torch.qint8")})
