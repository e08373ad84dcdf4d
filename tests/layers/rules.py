"""The rules. Each takes the tree and yields problems as "path:line: what, and what to do"."""

import re

from tree import Tree

HEAVY_HEADERS = ("nlohmann/", "httplib.h", "msgpack", "CLI/", "simdjson.h", "spdlog/", "zmq.hpp", "zmq.h", "prometheus/", "ucp/", "uct/", "ucs/")
MEANINGLESS = re.compile(r"(?:^|_)(manager|utils?|common|misc|helpers?|data|info)(?:_test)?\.(?:h|cc)$")
MEANINGLESS_TYPE = re.compile(r"^\s*(?:class|struct)\s+\w*(?:Manager|Utils?|Helpers?|Misc)\b")
LEFT_OVER = re.compile(r"\bTODO\b|\bFIXME\b|\bXXX\b|\bHACK\b")
READS_ENVIRONMENT = re.compile(r"\b(?:secure_)?getenv\s*\(")
OF_A_SOURCE_FILE = re.compile(r"^(?:static |inline )?constexpr [^({=;]*?\b(k[A-Z]\w*)\b|^(?:struct|class) (\w+)[^;]*\{")
TYPE_OF_A_HEADER = re.compile(r"^(?:class|struct|enum class) (?:\[\[\w+\]\] )?(\w+)[^;]*\{")
MOST_SOURCES_OF_HEAVY = 4  # that compile a heavy header because one of ours includes it
MOST_LINES = 400  # a header is meant to have 80, a source 150


def layers(tree: Tree):
    """Dependencies point down only, as the build declares them and as the documentation says."""
    for library in tree.libraries.values():
        where = f"src/{library.name}/CMakeLists.txt:1"
        for dep in library.deps:
            if dep not in tree.libraries:
                yield f"{where}: {library.name} depends on {dep}, which is no library"
            elif tree.libraries[dep].layer >= library.layer:
                yield f"{where}: {library.name} (layer {library.layer}) may not use {dep} (layer {tree.libraries[dep].layer}): dependencies point down only"
        if library.name not in tree.documented:
            yield f"{where}: {library.name} is missing in the table of docs/architecture.md"
            continue
        layer, may_use = tree.documented[library.name]
        if layer != library.layer:
            yield f"{where}: {library.name} is built as layer {library.layer} and documented as layer {layer}"
        if may_use != "everything below":
            for dep in set(library.deps) - set(may_use.replace("`", "").split()):
                yield f"{where}: {library.name} depends on {dep}, which docs/architecture.md does not allow"


def includes(tree: Tree):
    """An include stays in its library or goes to one of its dependencies."""
    installed = {file.path for file in tree.files if file.library == "ckpt"}
    for file in tree.files:
        library = tree.libraries.get(file.library)
        if library is None and file.library != "ckpt":
            yield f"{file.path}:1: src/{file.library} is no library: declare it with ckpt_library()"
            continue
        allowed = {"ckpt"} if library is None else {"ckpt", library.name, *library.deps}
        for number, name, quoted in file.includes:
            target = name.split("/")[0]
            if ".." in name.split("/"):
                yield f'{file.path}:{number}: "{name}": write the path from src/'
            elif target in tree.libraries and target not in allowed:
                theirs = tree.libraries[target].layer
                ours = library.layer if library else -1
                direction = "upwards" if theirs > ours else "sideways" if theirs == ours else "to a library that is no declared dependency"
                yield f'{file.path}:{number}: "{name}" points {direction}: {file.library} (layer {ours}) may use {" ".join(sorted(allowed))}'
            elif quoted and target == "ckpt" and f"include/{name}" not in installed:
                yield f'{file.path}:{number}: "{name}" is not in include/'
            elif quoted and target not in tree.libraries and target != "ckpt" and not file.is_test:
                yield f'{file.path}:{number}: "{name}": quotes are for our own headers, written from src/'


def cycles(tree: Tree):
    """Headers include each other without a cycle."""
    graph = {file.include_name: [name for _, name, quoted in file.includes if quoted] for file in tree.files if file.is_header}
    state: dict[str, int] = {}  # 1: on the path, 2: done

    def visit(name: str, path: list[str]):
        if state.get(name) == 1:
            yield f"{name}:1: include cycle: {' -> '.join([*path[path.index(name):], name])}"
        if name in state or name not in graph:
            return
        state[name] = 1
        for target in graph[name]:
            yield from visit(target, [*path, name])
        state[name] = 2

    for name in graph:
        yield from visit(name, [])


def sources_that_see(tree: Tree, header: str) -> set[str]:
    """Source files that include `header`, also through other headers."""
    seen, sources, names = set(), set(), [header]
    while names:
        seen.add(name := names.pop())
        for file in tree.files:
            if any(included == name for _, included, _ in file.includes):
                if not file.is_header:
                    sources.add(file.path)
                elif file.include_name not in seen:
                    names.append(file.include_name)
    return sources


def headers(tree: Tree):
    """A header opens with a sentence on what it is, guards itself, is light; its source includes it first, which proves that it stands alone."""
    names = {file.include_name for file in tree.files if file.is_header}
    for file in tree.files:
        if file.is_header:
            if not any(line.strip() == "#pragma once" for line in file.lines[:40]):
                yield f"{file.path}:1: no #pragma once"
            if not file.lines or not file.lines[0].startswith("///"):
                yield f"{file.path}:1: a header opens with a /// sentence on what it is and where it stands"
            for number, name, _ in file.includes:
                if name.startswith(HEAVY_HEADERS) and (users := len(sources_that_see(tree, file.include_name))) > MOST_SOURCES_OF_HEAVY:
                    yield f"{file.path}:{number}: <{name}> is heavy, and {users} sources see it: include it in source files only"
        else:
            own = re.sub(r"(_test)?\.cc$", ".h", file.include_name)
            if own in names and (not file.includes or file.includes[0][1] != own):
                yield f'{file.path}:1: the first include must be "{own}": it proves that the header stands alone'


def text(tree: Tree):
    """Things that must not be in the sources."""
    for file in tree.files:
        if MEANINGLESS.search(file.path):
            yield f"{file.path}:1: the name says nothing: name the idea that the file holds"
        if len(file.lines) > MOST_LINES:
            yield f"{file.path}:{MOST_LINES}: {len(file.lines)} lines: split it, one idea a file"
        for number, line in enumerate(file.lines, 1):
            if LEFT_OVER.search(line):
                yield f"{file.path}:{number}: left over: {line.strip()}"
            if MEANINGLESS_TYPE.search(line):
                yield f"{file.path}:{number}: the type's name says nothing: {line.strip()}"
            code = line.split("//")[0]
            if READS_ENVIRONMENT.search(code) and file.path != "src/base/options.cc" and not file.is_test:
                yield f"{file.path}:{number}: the environment is read through base/options.h only"


def unique_types(tree: Tree):
    """Types of headers have names of their own in the whole tree: all lie in one namespace, and the linker takes one of two functions of the same name."""
    first: dict[str, str] = {}
    for file in tree.files:
        for number, line in enumerate(file.lines if file.is_header else [], 1):
            if match := TYPE_OF_A_HEADER.match(line):
                where = first.setdefault(match.group(1), f"{file.path}:{number}")
                if where != f"{file.path}:{number}" and not where.startswith(file.path + ":"):
                    yield f"{file.path}:{number}: {match.group(1)} is also in {where}: give it a name of its own"


def unique_names(tree: Tree):
    """Constants and types of source files have names of their own within a library: some builds compile its sources in groups."""
    first: dict[tuple[str, str], str] = {}
    for file in tree.files:
        if file.is_header or file.is_test or "/plugin/" in file.path or file.path.endswith("/main.cc"):
            continue
        for number, line in enumerate(file.lines, 1):
            if match := OF_A_SOURCE_FILE.match(line):
                name = match.group(1) or match.group(2)
                where = first.setdefault((file.library, name), f"{file.path}:{number}")
                if where != f"{file.path}:{number}" and not where.startswith(file.path + ":"):
                    yield f"{file.path}:{number}: {name} is also in {where}: give it a name of its own"


ALL = (layers, includes, cycles, headers, text, unique_types, unique_names)
