"""Runs clang-tidy 16 over every source file of a build, several at once. Usage: run_clang_tidy.py BUILD_DIRECTORY [PART OF A PATH…]

Without parts of paths it reads what ships, src/ without tests, since each file takes seconds.

A file without findings is remembered by the content of all that it is made of (its own headers, .clang-tidy, the compile command) in
~/.cache/ckpt-engine/lint, so that only what changed is read again. Exit code 77 when clang-tidy 16 is not here.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ckpt-engine" / "lint"
OWN_INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def own_files(path: Path, seen: dict[Path, bytes]) -> dict[Path, bytes]:
    """`path` and what it includes of this repository, with contents."""
    if path not in seen:
        seen[path] = path.read_bytes()
        for name in OWN_INCLUDE.findall(seen[path]):
            for folder in (ROOT / "src", ROOT / "include", ROOT / "tests", path.parent):
                if (candidate := folder / name.decode()).is_file():
                    own_files(candidate.resolve(), seen)
                    break
    return seen


def key_of(path: Path, command: str, tool: str) -> str:
    digest = hashlib.sha256()
    for text in (tool, command.replace(str(ROOT), ""), (ROOT / ".clang-tidy").read_text()):
        digest.update(text.encode() + b"\0")
    for name, content in sorted(own_files(path, {}).items()):
        digest.update(str(name.relative_to(ROOT)).encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def check(tool: str, build: Path, path: Path, key: str) -> str:
    """The findings in `path`, empty when there are none."""
    if (CACHE / key).exists():
        return ""
    done = subprocess.run([tool, "-p", str(build), "--quiet", str(path)], capture_output=True, text=True)
    if done.returncode == 0:
        (CACHE / key).touch()
        return ""
    return done.stdout or done.stderr


def main() -> int:
    build, parts = Path(sys.argv[1]), sys.argv[2:]
    tool = shutil.which("clang-tidy-16")
    if tool is None:
        print("skipped: clang-tidy-16 is not here: scripts/setup --for all installs it")
        return 77
    CACHE.mkdir(parents=True, exist_ok=True)
    commands = {Path(entry["file"]): entry["command"] for entry in json.loads((build / "compile_commands.json").read_text())}
    ships = [path for path in commands if path.is_relative_to(ROOT / "src") and not path.name.endswith("_test.cc")]
    files = sorted(ships if not parts else (path for path in commands if any(part in str(path) for part in parts)))
    begin = time.monotonic()
    found = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, text in zip(files, pool.map(lambda path: check(tool, build, path, key_of(path, commands[path], tool)), files)):
            if text:
                found += 1
                print(f"{path.relative_to(ROOT)}:\n{text}", flush=True)
    print(f"{len(files)} files, {found} with findings, {time.monotonic() - begin:.0f} s")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
