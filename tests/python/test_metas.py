"""Metas: from the JSON document, into pickles, and from pickles of the package checkpoint-engine by a closed list of types."""

import json
import os
import pickle
import re
import sys
import types
from pathlib import Path

import pytest
from ckpt_engine import errors, metas
from ckpt_engine.data_types import MemoryBufferMetaList, MemoryBufferMetas, ParameterMeta

PAGE = (Path(__file__).resolve().parents[2] / "docs/format/metas.md").read_text()
STRIPED, SHARES = re.findall(r"Accepted:.*?```json\n(.*?)```", PAGE, flags=re.S)


def names(held: MemoryBufferMetaList):
    return [
        (p.name, p.dtype, p.shape, p.aligned_size) for segment in held.memory_buffer_metas_list for p in segment.metas
    ]


def test_shares_stand_with_the_rank_that_gave_them():
    read = metas.from_json(SHARES)
    assert {rank: names(held) for rank, held in read.items()} == {
        0: [("a", "F8_E4M3", (16, 16), 256), ('say "b"', "F32", (2,), 256)],
        1: [("c", "BOOL", (3,), 256)],
    }
    assert (read[0].memory_buffer_metas_list[0].ptr, read[0].memory_buffer_metas_list[0].size) == (4096, 512)


def test_stripes_stand_with_every_rank():
    read = metas.from_json(STRIPED)
    assert (
        names(read[0])
        == names(read[1])
        == [("model.norm.weight", "BF16", (300,), 768), ("scale", "F32", (), 256), ("none", "I64", (0, 3), 0)]
    )


def test_metas_pickle_with_their_document():
    read = pickle.loads(pickle.dumps(metas.from_json(SHARES)))
    assert read == metas.from_json(SHARES) and json.loads(read.document) == json.loads(SHARES)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "[]",
        "{}",
        '{"parameters": 1}',
        SHARES.replace('"shares":[2,1]', '"shares":[2]'),
        SHARES.replace("F32", "what"),
    ],
)
def test_other_documents_are_refused(wrong):
    with pytest.raises(errors.InvalidArgumentError, match="no metas document"):
        metas.from_json(wrong)


def pydantic_state(**fields):
    return {
        "__dict__": fields,
        "__pydantic_fields_set__": set(fields),
        "__pydantic_extra__": None,
        "__pydantic_private__": None,
    }


def old_object(kind, **fields):
    made = kind.__new__(kind)
    made.state = pydantic_state(**fields)
    return made


@pytest.fixture
def old(monkeypatch):
    """The names of the old package and of torch, so that pickle writes what it wrote there."""
    package, torch = types.ModuleType("checkpoint_engine.data_types"), types.ModuleType("torch")
    for name in ("MemoryBufferMetaList", "MemoryBufferMetas", "ParameterMeta"):
        kind = type(name, (), {"__module__": package.__name__, "__getstate__": lambda self: self.state})
        setattr(package, name, kind)
    torch.Size = type(
        "Size", (tuple,), {"__module__": "torch", "__reduce__": lambda self: (torch.Size, (tuple(self),))}
    )
    torch.dtype = type("dtype", (), {"__module__": "torch", "__reduce__": lambda self: "bfloat16"})
    torch.bfloat16 = torch.dtype()
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "checkpoint_engine", types.ModuleType("checkpoint_engine"))
    parameter = old_object(
        package.ParameterMeta, name="w", dtype=torch.bfloat16, shape=torch.Size((2, 3)), aligned_size=256
    )
    segment = old_object(package.MemoryBufferMetas, metas=[parameter], ptr=4096, size=256)
    return {
        0: old_object(
            package.MemoryBufferMetaList,
            p2p_store_addr="10.0.0.1:7",
            memory_buffer_metas_list=[segment],
            rdma_device="mlx5_0",
        )
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_old_pickles_are_read(old, protocol):
    read = metas.from_old_pickle(pickle.dumps(old, protocol=protocol))
    parameter = ParameterMeta(name="w", dtype="BF16", shape=(2, 3), aligned_size=256)
    assert read == {0: MemoryBufferMetaList("10.0.0.1:7", [MemoryBufferMetas([parameter], 4096, 256)], "mlx5_0")}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/this-must-not-be-made",)


@pytest.mark.parametrize("wrong", [{0: Evil()}, Evil(), [], {0: 1}, {"0": 1}, {0: set}, {0: os.path.join}])
def test_nothing_else_in_a_pickle_is_called(wrong):
    with pytest.raises(errors.InvalidArgumentError):
        metas.from_old_pickle(pickle.dumps(wrong))
    assert not os.path.exists("/tmp/this-must-not-be-made")


def test_damaged_pickles_are_refused(old):
    whole = pickle.dumps(old)
    for cut in range(len(whole)):
        with pytest.raises(errors.InvalidArgumentError):
            metas.from_old_pickle(whole[:cut])
