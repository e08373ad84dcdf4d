"""The RL example as a user starts it, noting after each step what its process has: for test_dense.py. Run by the Python of build/vllm.

    rl_counted.py RESULT.json [ARGUMENTS OF examples/rl/train.py]
"""

import contextlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "rl"))

import train  # noqa: E402


def possessions() -> dict:
    """What this process has, each by its identity: threads, descriptors (a socket or memory file made anew has another inode), mapped shared memory."""
    threads = {task: Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")}
    descriptors = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            link, inode = os.readlink(f"/proc/self/fd/{number}"), os.stat(f"/proc/self/fd/{number}").st_ino
            descriptors[number] = f"{link} {inode}"
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    shared = sorted(f"{fields[0]} {fields[4]} {fields[5]}" for fields in maps if len(fields) == 6 and fields[5].startswith(("/memfd:", "/dev/shm/")))
    return {"threads": threads, "descriptors": descriptors, "shared": shared}


def main() -> None:
    result, *arguments = sys.argv[1:]
    counted = []

    def after_step(seen: dict) -> None:
        train.print_step(seen)
        counted.append(possessions())

    steps = train.train(train.parser().parse_args(arguments), after_step)
    Path(result).write_text(json.dumps({"steps": steps, "counted": counted}))


if __name__ == "__main__":
    main()
