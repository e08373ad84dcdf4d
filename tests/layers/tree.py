"""The source tree as the architecture checks see it: libraries with layer and dependencies, files with their includes."""

import re
from dataclasses import dataclass, field
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


@dataclass(frozen=True)
class Library:
    name: str
    layer: int
    deps: tuple[str, ...]


@dataclass
class SourceFile:
    path: str  # from the root of the repository
    lines: list[str]
    includes: list[tuple[int, str, bool]] = field(default_factory=list)  # line number, name, whether in quotes

    @property
    def library(self) -> str:
        """Folder of src/ that the file lies in; "ckpt" for what installs (include/ckpt)."""
        return self.path.split("/")[1]

    @property
    def is_header(self) -> bool:
        return self.path.endswith(".h")

    @property
    def is_test(self) -> bool:
        return self.path.endswith("_test.cc")

    @property
    def include_name(self) -> str:
        """How others include it."""
        return self.path.split("/", 1)[1]


def read_file(root: Path, path: Path) -> SourceFile:
    file = SourceFile(str(path.relative_to(root)), path.read_text(encoding="utf-8").splitlines())
    for number, line in enumerate(file.lines, 1):
        if match := INCLUDE.match(line):
            file.includes.append((number, match.group(2), match.group(1) == '"'))
    return file


def read_libraries(root: Path) -> dict[str, Library]:
    """From the ckpt_library(NAME … LAYER … DEPS …) calls: the build's own declaration."""
    libraries = {}
    for path in sorted((root / "src").glob("*/CMakeLists.txt")):
        call = re.search(r"ckpt_library\(([^)]*)\)", path.read_text(encoding="utf-8"))
        if not call:
            continue
        words = call.group(1).split()
        name = words[words.index("NAME") + 1]
        deps = []
        if "DEPS" in words:
            for word in words[words.index("DEPS") + 1 :]:
                if word.isupper():  # the next keyword
                    break
                deps.append(word)
        libraries[name] = Library(name, int(words[words.index("LAYER") + 1]), tuple(deps))
    return libraries


def read_documented(root: Path) -> dict[str, tuple[int, str]]:
    """Library → (layer, "may use" as written) from the table of docs/architecture.md."""
    documented = {}
    path = root / "docs" / "architecture.md"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0].isdigit():
            for name in re.findall(r"`(\w+)`", cells[1]):
                documented[name] = (int(cells[0]), cells[3])
    return documented


class Tree:
    def __init__(self, root: Path):
        self.root = root
        self.libraries = read_libraries(root)
        self.documented = read_documented(root)
        paths = [*(root / "src").rglob("*.h"), *(root / "src").rglob("*.cc"), *(root / "include").rglob("*.h")]
        self.files = [read_file(root, path) for path in sorted(paths)]
