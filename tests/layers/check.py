"""Checks the architecture: layers, includes, headers and forbidden text. Usage: check.py ROOT. Prints each problem; exit code 1 if there is one."""

import sys
from pathlib import Path

import rules
from tree import Tree


def problems(root: Path) -> list[str]:
    tree = Tree(root)
    return [problem for rule in rules.ALL for problem in rule(tree)]


def main() -> int:
    root = Path(sys.argv[1])
    found = problems(root)
    for problem in found:
        print(problem)
    tree = Tree(root)
    longest = sorted(tree.files, key=lambda file: -len(file.lines))[:5]
    print(f"{len(tree.libraries)} libraries, {len(tree.files)} files, longest:", ", ".join(f"{file.path} {len(file.lines)}" for file in longest))
    print(f"{len(found)} problems")
    return 1 if found or not tree.libraries else 0


if __name__ == "__main__":
    sys.exit(main())
