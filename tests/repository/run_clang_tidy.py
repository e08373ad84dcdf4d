"""Runs clang-tidy 16 over every source file of a build, several at once. Usage: run_clang_tidy.py BUILD_DIRECTORY [PART OF A PATH…]

Without parts of paths it reads what ships, src/ without tests, since each file takes seconds.

Files of one library are read together, up to sixteen at once: two thirds of the time of a file are its headers. Where a group has findings, its files are
read one by one, and those findings count.

A file without findings is remembered by the content of all that it is made of (its own headers, .clang-tidy, the compile command) in
~/.cache/ckpt-engine/lint, so that only what changed is read again. Exit code 77 when clang-tidy 16 is not here.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ckpt-engine" / "lint"
GROUP = 16
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


def tidy(tool: str, *arguments: str) -> str:
    """What clang-tidy says, empty when it finds nothing."""
    done = subprocess.run([tool, "--quiet", *arguments], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout or done.stderr


def groups_of(files: list[Path], commands: dict[Path, str]) -> list[list[Path]]:
    """Neighbours with the same compile command, in even groups; the largest first, so that the processors end together."""
    alike: dict[str, list[Path]] = {}
    for path in files:
        alike.setdefault(" ".join(flags_of(commands[path])) + str(path.parent), []).append(path)
    groups = []
    for paths in alike.values():
        number = -(-len(paths) // GROUP)
        groups += [paths[len(paths) * i // number : len(paths) * (i + 1) // number] for i in range(number)]
    return sorted(groups, key=len, reverse=True)


def flags_of(command: str) -> list[str]:
    """The compile command without compiler, output and source."""
    words = shlex.split(command)[1:]
    del words[words.index("-o") : words.index("-o") + 2]
    del words[words.index("-c") : words.index("-c") + 2]
    return words


def group_is_clean(tool: str, group: list[Path], commands: dict[Path, str], folder: Path) -> bool:
    source = folder / f"{hashlib.sha256(str(group).encode()).hexdigest()[:16]}.cc"
    source.write_text("".join(f'#include "{path}"\n' for path in group))
    whole = ["--checks=-bugprone-suspicious-include", r"--header-filter=(src|include|tests)/.*\.(h|cc)$", f"--config-file={ROOT / '.clang-tidy'}"]
    return not tidy(tool, *whole, str(source), "--", *flags_of(commands[group[0]]))


def check(tool: str, build: Path, group: list[Path], commands: dict[Path, str], keys: dict[Path, str], folder: Path) -> dict[Path, str]:
    """The findings in each file of the group that has some."""
    clean = len(group) > 1 and group_is_clean(tool, group, commands, folder)
    texts = {path: "" if clean else tidy(tool, "-p", str(build), str(path)) for path in group}
    for path, text in texts.items():
        if not text:
            (CACHE / keys[path]).touch()
    return {path: text for path, text in texts.items() if text}


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
    keys = {path: key_of(path, commands[path], tool) for path in files}
    unknown = [path for path in files if not (CACHE / keys[path]).exists()]
    found = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        for findings in pool.map(lambda group: check(tool, build, group, commands, keys, Path(folder)), groups_of(unknown, commands)):
            found += len(findings)
            for path, text in sorted(findings.items()):
                print(f"{path.relative_to(ROOT)}:\n{text}", flush=True)
    print(f"{len(files)} files, {found} with findings, {time.monotonic() - begin:.0f} s")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
