"""A real engine with the published worker starts with dummy weights, is updated twice by `ckpt-engine update`, and must then answer, bit for bit, as one that loaded the weights from disk.

    PYTHONPATH=SITE python3 check.py vllm|sglang MODEL_DIR LOG_DIR [--tp N] [--port N]

MODEL_DIR comes from make_model.py. One JSON line a step; exit status 0 only when all hold:
    with dummy weights the answers are others
    after the updates to v1 and v2 they are those of transformers, up to the first near tie
    after the update to v2 tokens and logprobs equal those of a second server that loaded v2 from disk
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from engine import FAILED, ROOM, SAFE, Server, agrees, read_arguments, tell, update_command


def update(arguments, server: Server, checkpoint: Path) -> None:
    begin = time.monotonic()
    command = update_command(arguments, server.url, checkpoint, "--device", "cuda", "--weight-version", checkpoint.name, "--timeout", "120s")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | SAFE
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env=environment, check=False)
    (arguments.logs / f"{arguments.label}-update-{checkpoint.name}.log").write_text(done.stdout + done.stderr)
    report = json.loads(done.stdout) if done.returncode == 0 else {}
    tell(f"update to {checkpoint.name}", done.returncode == 0, command_s=round(time.monotonic() - begin, 2), update_s=report.get("seconds"), lane=report.get("lane"),
         error=done.stderr[-1500:] if done.returncode else "")


def main() -> int:
    arguments = read_arguments("published")
    expected = json.loads((arguments.model / "answers.json").read_text())
    room = ROOM[arguments.model.name]
    with Server(arguments, arguments.model / "v1", "dummy", os.environ["PYTHONPATH"]) as server:
        good, facts = agrees(server.answers(expected["v1"]), expected["v1"], room)
        tell("dummy weights answer otherwise", not good, **facts)
        for version in ("v1", "v2"):
            update(arguments, server, arguments.model / version)
            updated = server.answers(expected[version])
            good, facts = agrees(updated, expected[version], room)
            tell(f"answers after the update to {version}", good, **facts)
    with Server(arguments, arguments.model / "v2", "auto", os.environ["PYTHONPATH"]) as server:
        loaded = server.answers(expected["v2"])
    good, facts = agrees(loaded, expected["v2"], room)
    tell("answers of v2 from disk", good, **facts)
    tell("updated server and the one from disk: tokens and logprobs equal bit for bit", updated == loaded)
    print(f"{arguments.label}: {'failed: ' + ', '.join(FAILED) if FAILED else 'all hold'}", flush=True)
    return bool(FAILED)


if __name__ == "__main__":
    sys.exit(main())
