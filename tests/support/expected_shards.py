"""The digests that an engine must report, computed from the files alone: another implementation of the layout rules."""

import ctypes
import json
import re
from pathlib import Path

import numpy as np

XXHASH = ctypes.CDLL("libxxhash.so.0")  # the system's library; the product compiles its own copy in
XXHASH.XXH3_64bits.restype = ctypes.c_uint64
XXHASH.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8}
ROWS = re.compile(r"\.(q|k|v|gate|up|q_b|kv_b)_proj\.(weight|bias|weight_scale_inv)$")
COLUMNS = re.compile(r"\.(o|down)_proj\.(weight|weight_scale_inv)$")
VOCABULARY = re.compile(r"(embed_tokens|lm_head)\.weight$")


def tensors(directory: Path):
    for path in sorted(directory.glob("*.safetensors")):
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            raw = np.frombuffer(data[8 + length + begin : 8 + length + end], dtype=np.uint8)
            yield name, entry["dtype"], entry["shape"], raw


def shard(name: str, array: np.ndarray, config: dict, rank: int, tp: int) -> np.ndarray:
    """`array`: shape + one axis of the item's bytes."""
    num_dimensions = array.ndim - 1
    if VOCABULARY.search(name):
        padded = -(-config["vocab_size"] // 64) * 64
        return array[min(rank * padded // tp, len(array)) : min((rank + 1) * padded // tp, len(array))]
    if re.search(r"\.(k|v)_proj\.(weight|bias)$", name) and config.get("num_key_value_heads", tp) < tp:
        heads = config["num_key_value_heads"]
        size = len(array) // heads
        head = rank * heads // tp
        return array[head * size : (head + 1) * size]
    if ROWS.search(name) and array.shape[0] > 1:
        return np.split(array, tp, axis=0)[rank]
    if COLUMNS.search(name) and num_dimensions == 2 and array.shape[1] > 1:
        return np.split(array, tp, axis=1)[rank]
    return array


def digest(data: bytes) -> str:
    return f"{XXHASH.XXH3_64bits(data, len(data)):016x}"


def expected(directory: Path, tp: int) -> list[dict[str, str]]:
    """Per rank: tensor name → xxh3-64 of its shard."""
    config = json.loads((directory / "config.json").read_text())
    ranks: list[dict[str, str]] = [{} for _ in range(tp)]
    for name, dtype, shape, raw in tensors(directory):
        array = raw.reshape([*shape, ITEM_BYTES[dtype]])
        for rank in range(tp):
            ranks[rank][name] = digest(np.ascontiguousarray(shard(name, array, config, rank, tp)).tobytes())
    return ranks


def reported(weights: dict) -> list[dict[str, str]]:
    return [{tensor["name"]: tensor["xxh3"] for tensor in worker["tensors"]} for worker in weights["workers"]]
