"""`ckpt-engine plan` against a second implementation of the packing, in Python and from the rule in src/manifest/frame_layout.h alone."""

import json
import os
import struct
import subprocess

import pytest

BINARY = os.environ["CKPT_ENGINE_BINARY"]


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "plan", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def write_checkpoint(directory, sizes):
    directory.mkdir()
    header, offset = {}, 0
    for i, size in enumerate(sizes):
        header[f"t{i:03}"] = {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def round_up(value, unit):
    return -(-value // unit) * unit


def packed(sizes, num_ranks, bucket, stripe):
    """Frame sizes and number of stripes."""
    most = max([bucket // 256 * 256, *(round_up(size, 256) for size in sizes)])
    unit = max(min(stripe, most // num_ranks) // 256 * 256, 256)
    frames, used = [], 0
    for size in sizes:
        if used and used + round_up(size, 256) > most:
            frames.append(used)
            used = 0
        used += round_up(size, 256)
    frames = [round_up(frame, 256 * num_ranks) for frame in [*frames, used]]
    return frames, sum(-(-frame // (unit * num_ranks)) for frame in frames)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("bucket", [300, 70_000, 1 << 20])
def test_frames_and_shares_are_those_of_the_rule(tmp_path, num_ranks, bucket):
    sizes = [(i * 7919) % 50_000 for i in range(60)]
    write_checkpoint(tmp_path / "m", sizes)
    arguments = ["--num-ranks", num_ranks, "--bucket-size", bucket, "--stripe-size", "64KiB", "--json"]
    done = run("--checkpoint-path", tmp_path / "m", "--save-metas-file", tmp_path / "metas.json", *arguments)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    frames, num_stripes = packed(sizes, num_ranks, bucket, 64 * 1024)
    assert (plan["num_frames"], plan["num_stripes"], plan["frame_bytes"]) == (len(frames), num_stripes, max(frames))
    assert [rank["filled_bytes"] for rank in plan["ranks"]] == [sum(frames) // num_ranks] * num_ranks
    assert plan["tensor_bytes"] == sum(sizes)
    again = run("--load-metas-file", tmp_path / "metas.json", "--json")
    assert json.loads(again.stdout) == plan


def test_refusals_end_with_the_exit_code_of_their_kind(tmp_path):
    write_checkpoint(tmp_path / "m", [100_000])
    too_small = run("--checkpoint-path", tmp_path / "m", "--memory-limit", 50_000)
    assert (too_small.returncode, too_small.stdout) == (6, "")
    assert "the wanted bucket" in too_small.stderr or "t000" in too_small.stderr
    assert run("--checkpoint-path", tmp_path / "m", "--num-ranks", 4, "--inference-parallel-size", 3).returncode == 2
    assert run("--checkpoint-path", tmp_path / "nowhere").returncode == 3
    assert run().returncode == 2
    (tmp_path / "metas.json").write_text('{"format": "ckpt-engine metas", "version": 2}')
    newer = run("--load-metas-file", tmp_path / "metas.json")
    assert (newer.returncode, "version 2 is unknown" in newer.stderr) == (11, True)
