"""Checkpoints in the shapes of Qwen3-8B and Qwen3-30B-A3B, and a reader of their safetensors headers.

    python3 checkpoint_files.py --model qwen3-8b --out DIR [--layers N] [--shards N]

The bytes are windows of one random block; a tensor's window follows from its name, so neighbours differ. Many processes write at once.
"""

import argparse
import functools
import json
import mmap
import multiprocessing
import os
import random
import time
import zlib
from pathlib import Path

BLOCK_BYTES = 64 << 20
# Sizes as published on the Hugging Face hub; tiny ones for dry runs.
MODELS = {
    "qwen3-8b": dict(layers=36, hidden=4096, intermediate=12288, heads=32, kv_heads=8, head_dim=128, vocab=151936, experts=0),
    "qwen3-30b-a3b": dict(layers=48, hidden=2048, intermediate=768, heads=32, kv_heads=4, head_dim=128, vocab=151936, experts=128),
    "tiny": dict(layers=3, hidden=256, intermediate=512, heads=4, kv_heads=2, head_dim=64, vocab=1024, experts=0),
    "tiny-moe": dict(layers=3, hidden=128, intermediate=64, heads=4, kv_heads=2, head_dim=32, vocab=1024, experts=8),
}
ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}


def parameters(model: str, layers: int) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the order of the published files; all bfloat16."""
    c = MODELS[model]
    hidden, query, key = c["hidden"], c["heads"] * c["head_dim"], c["kv_heads"] * c["head_dim"]
    attention = {"k_norm": (c["head_dim"],), "k_proj": (key, hidden), "o_proj": (hidden, query), "q_norm": (c["head_dim"],), "q_proj": (query, hidden), "v_proj": (key, hidden)}
    mlp = {"down_proj": (hidden, c["intermediate"]), "gate_proj": (c["intermediate"], hidden), "up_proj": (c["intermediate"], hidden)}
    result = [("model.embed_tokens.weight", (c["vocab"], hidden))]
    for layer in range(layers or c["layers"]):
        prefix = f"model.layers.{layer}."
        result.append((prefix + "input_layernorm.weight", (hidden,)))
        if c["experts"]:
            result.append((prefix + "mlp.gate.weight", (c["experts"], hidden)))
        for expert in [f"experts.{e}." for e in range(c["experts"])] or [""]:
            result += [(f"{prefix}mlp.{expert}{name}.weight", shape) for name, shape in mlp.items()]
        result.append((prefix + "post_attention_layernorm.weight", (hidden,)))
        result += [(f"{prefix}self_attn.{name}.weight", shape) for name, shape in attention.items()]
    return result + [("model.norm.weight", (hidden,)), ("lm_head.weight", (c["vocab"], hidden))]


def bf16_bytes(shape: tuple[int, ...]) -> int:
    count = 2
    for size in shape:
        count *= size
    return count


def split(tensors: list, shards: int) -> list[list]:
    """Consecutive tensors in `shards` files of about equal size."""
    total, taken, files = sum(bf16_bytes(shape) for _, shape in tensors), 0, [[]]
    for name, shape in tensors:
        if files[-1] and taken + bf16_bytes(shape) / 2 > total * len(files) / shards:
            files.append([])
        files[-1].append((name, shape))
        taken += bf16_bytes(shape)
    return files


def write_head(path: Path, tensors: list) -> int:
    """Makes the file at its full size, with its header alone. Returns where the data begin."""
    entries, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + bf16_bytes(shape)]}
        at += bf16_bytes(shape)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return 8 + len(text)


@functools.cache
def random_block() -> memoryview:
    return memoryview(random.Random(8).randbytes(BLOCK_BYTES) * 2)


def write_data(job: tuple[str, list[tuple[int, int, int]]]) -> int:
    """One process: copies windows of the block to their places in a file."""
    path, pieces = job
    block = random_block()
    with open(path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as target:
        for at, begin, size in pieces:
            target[at : at + size] = block[begin : begin + size]
    return sum(size for _, _, size in pieces)


def write(model: str, layers: int, out: Path, shards: int) -> dict:
    begin = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    tensors, jobs, places = parameters(model, layers), [], {}
    files = split(tensors, shards)
    for number, group in enumerate(files, 1):
        path = out / f"model-{number:05d}-of-{len(files):05d}.safetensors"
        at, pieces = write_head(path, group), []
        for name, shape in group:
            places[name] = path.name
            window = zlib.crc32(name.encode()) * 256 % BLOCK_BYTES
            for offset in range(0, bf16_bytes(shape), BLOCK_BYTES):
                pieces.append((at + offset, window, min(BLOCK_BYTES, bf16_bytes(shape) - offset)))
            at += bf16_bytes(shape)
        step = max(1, len(pieces) // 16)
        jobs += [(str(path), pieces[i : i + step]) for i in range(0, len(pieces), step)]
    total = sum(bf16_bytes(shape) for _, shape in tensors)
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": places}))
    random_block()  # made once, before the processes that copy from it
    with multiprocessing.get_context("fork").Pool(min(24, os.cpu_count() or 1)) as pool:
        assert sum(pool.imap_unordered(write_data, jobs)) == total
    return dict(model=model, tensors=len(tensors), bytes=total, files=len(files), seconds=round(time.perf_counter() - begin, 2))


def read_headers(directory: Path):
    """(file, name, dtype as safetensors writes it, shape, first byte, size) of every tensor."""
    for path in sorted(directory.glob("*.safetensors")):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
        for name, entry in entries.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                yield path, name, entry["dtype"], tuple(entry["shape"]), 8 + length + begin, end - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--layers", type=int, default=0, help="0: as many as the model has")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=4)
    arguments = parser.parse_args()
    print(json.dumps(write(arguments.model, arguments.layers, arguments.out, arguments.shards)))
