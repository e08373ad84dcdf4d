"""The functions and structures that Python declares are those of the C header."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import ckpt_engine
import pytest
from ckpt_engine import _library, errors

HEADER = (Path(__file__).resolve().parents[2] / "include/ckpt/ckpt.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", re.sub(r"//.*", "", HEADER), flags=re.S)

VALUES = {
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "ckpt_operation_state": ctypes.c_int32,
}
OBJECTS = ("ckpt_error", "ckpt_operation", "ckpt_server", "ckpt_receiver", "void")
STRUCTURES = {
    "ckpt_tensor": _library.Tensor,
    "ckpt_source": _library.Source,
    "ckpt_placed_tensor": _library.PlacedTensor,
    "ckpt_event": _library.Event,
}


def ctype_of(declared: str):
    """ "const char** files" as ctypes has it."""
    words = re.sub(r"\bconst\b", "", declared)
    stars, base = words.count("*"), words.replace("*", " ").split()[0]
    if stars == 0:
        return None if base == "void" else VALUES[base]
    if base in OBJECTS:
        kind, stars = ctypes.c_void_p, stars - 1
    elif base == "char":
        kind, stars = ctypes.c_char_p, stars - 1
    else:
        kind = {**VALUES, **STRUCTURES}[base]
    for _ in range(stars):
        kind = ctypes.POINTER(kind)
    return kind


def functions():
    for result, name, arguments in re.findall(r"CKPT_API\s+([\w\s]+?\**)\s*\b(ckpt_\w+)\(([^)]*)\)\s*;", CODE):
        yield (
            name,
            ctype_of(result + " "),
            tuple(ctype_of(argument) for argument in arguments.split(",") if argument.strip() != "void"),
        )


def test_every_function_of_the_header_is_declared_as_it_is_there():
    declared = {name: (result, arguments) for name, result, arguments in functions()}
    assert len(declared) > 25
    assert declared == _library.FUNCTIONS


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_have_the_fields_of_the_header(name):
    body = re.search(r"typedef struct %s \{(.*?)\} %s;" % (name, name), CODE, flags=re.S).group(1)
    fields = [
        (re.search(r"(\w+)$", field.strip()).group(1), ctype_of(field)) for field in body.split(";") if field.strip()
    ]
    ours = STRUCTURES[name]._fields_
    if name == "ckpt_event":  # bytes with zeros among them: not a text
        fields = [(field, ctypes.c_void_p if field == "names" else kind) for field, kind in fields]
    assert fields == ours


def test_constants_are_those_of_the_header():
    assert int(re.search(r"#define CKPT_ABI_VERSION (\d+)", HEADER).group(1)) == _library.ABI_VERSION
    states = dict(re.findall(r"CKPT_(RUNNING|DONE|CALL_ENGINES) = (\d+)", HEADER))
    assert states == {name: str(getattr(_library, name)) for name in ("RUNNING", "DONE", "CALL_ENGINES")}


def test_package_and_library_have_one_version():
    assert ckpt_engine.__version__ == _library.text(_library.library().ckpt_version())


def run(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()


TRY = "import ckpt_engine\ntry:\n    ckpt_engine.ParameterServer()\nexcept ckpt_engine.CkptError as error:\n    print(error)"


def test_a_missing_library_is_named_with_what_to_do():
    assert re.match(
        r"not_found: loading /nowhere/libckpt.so: .*No such file.* \(install the package",
        run(TRY, CKPT_LIBRARY="/nowhere/libckpt.so"),
    )


def test_a_library_of_another_version_is_refused(tmp_path):
    source, library = tmp_path / "other.c", tmp_path / "libckpt.so"
    source.write_text("int ckpt_abi_version(void) { return 99; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    assert "speaks version 99 of the C interface" in run(TRY, CKPT_LIBRARY=str(library))


def test_importing_the_package_imports_nothing_else():
    loaded = run(
        "import sys; before = set(sys.modules); import ckpt_engine; print(*(set(sys.modules) - before))"
    ).split()
    assert {
        name
        for name in loaded
        if name.partition(".")[0] in ("ctypes", "json", "http", "torch", "numpy", "zmq", "dataclasses", "asyncio")
    } == set()


def test_errors_of_the_library_become_exceptions_of_their_class():
    for code in range(14):
        name = _library.text(_library.library().ckpt_code_name(code))
        raised = _library.exception_of(_library.library(), code, ctypes.c_void_p())
        assert type(raised) is errors.BY_CODE.get(name, errors.InternalError)
        assert code == 0 or raised.code == name
    assert _library.library().ckpt_code_name(14) is None
    assert len(errors.BY_CODE) == 13
