"""From the call of update() to the first new token of a real vLLM at TP 2, with weights of an 8B model: each sender against each worker.

    SITE=… OURS=… COMPAT=… python3 first_token.py CHECKPOINT_DIR TINY_MODEL_DIR LOG_DIR [UPDATES]

CHECKPOINT_DIR: made by checkpoint_files.py (qwen3-8b). TINY_MODEL_DIR: made by tests/gpu/engines/make_model.py; its tokenizer and, with the sizes of 8B, its
configuration are used. The sender is tests/gpu/engines/script.py, under torchrun: the same text for both packages, told apart by PYTHONPATH (folders as in
check_ours.py). Prints one line for each pair: seconds of every update, the first (a fresh process) apart.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from checkpoint_files import MODELS

ENGINES = Path(__file__).resolve().parents[2] / "tests" / "gpu" / "engines"
sys.path.insert(0, str(ENGINES))
from engine import OFFLINE, SAFE, Server  # noqa: E402

SITE, OURS, COMPAT = (os.environ[name] for name in ("SITE", "OURS", "COMPAT"))
PATHS = {"ours": f"{COMPAT}:{OURS}:{SITE}", "published": f"{SITE}:{OURS}"}
TP = 2


def make_servable(checkpoint: Path, tiny: Path) -> None:
    """Configuration, tokenizer and index beside the files."""
    sizes = MODELS["qwen3-8b"]
    for path in tiny.iterdir():
        if path.suffix != ".safetensors" and "index" not in path.name:
            shutil.copy(path, checkpoint)
    config = json.loads((tiny / "config.json").read_text())
    config |= dict(hidden_size=sizes["hidden"], num_hidden_layers=sizes["layers"], intermediate_size=sizes["intermediate"], num_attention_heads=sizes["heads"],
                   num_key_value_heads=sizes["kv_heads"], head_dim=sizes["head_dim"], vocab_size=sizes["vocab"])
    config.pop("layer_types", None)
    (checkpoint / "config.json").write_text(json.dumps(config))


def measure(server: Server, sender: str, checkpoint: Path, updates: int, log: Path) -> list[dict]:
    environment = os.environ | SAFE | OFFLINE | {"PYTHONPATH": PATHS[sender]}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(TP), "--master-port", str(29100 + (sender == "ours")), str(ENGINES / "script.py"), "vllm", server.url,
               str(checkpoint), "v", str(updates)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment, check=False)
    log.write_text(done.stdout + done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")] if done.returncode == 0 else []


def main() -> None:
    checkpoint, tiny, logs = map(Path, sys.argv[1:4])
    updates = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    logs.mkdir(parents=True, exist_ok=True)
    make_servable(checkpoint, tiny)
    for worker in ("published", "ours"):
        given = Namespace(engine="vllm", port=8900, filling_port=8950, tp=TP, worker=worker, logs=logs, label=f"first-token-{worker}")
        with Server(given, checkpoint, "dummy", PATHS[worker]) as server:
            for sender in ("published", "ours"):
                rows = measure(server, sender, checkpoint, updates, logs / f"first-token-{worker}-{sender}.log")
                warm = {what: round(statistics.median(row[what] for row in rows[1:]), 4) for what in rows[0]} if len(rows) > 1 else None
                print(json.dumps(dict(worker=worker, sender=sender, first=rows[0] if rows else "failed", warm=warm, all=[row["first_token"] for row in rows])), flush=True)


if __name__ == "__main__":
    main()
