"""What the published package offers by name is offered here, with its arguments, in their order, with their defaults."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).resolve().parents[2] / ".venv/checkpoint-engine"
ENDED = {"DistributedProcessGroup"}  # a union of torch's types there
MODULES = [
    "__init__",
    "api",
    "data_types",
    "device_utils",
    "distributed/__init__",
    "distributed/base",
    "p2p_store",
    "ps",
    "worker",
]
OF_BACK_ENDS = {"CommGroup", "CommunicatorProtocol", "TorchBackend"}


def published(version: str, module: str) -> ast.Module:
    return ast.parse((PUBLISHED / version / "checkpoint_engine" / f"{module}.py").read_text())


def ours(module: str):
    path = module.replace("/__init__", "").replace("/base", "")
    return importlib.import_module("checkpoint_engine" if path == "__init__" else f"checkpoint_engine.{path}")


def arguments(function: ast.FunctionDef):
    """Name, kind and default of each, as inspect has them."""
    a = function.args
    defaults = [None] * (len(a.posonlyargs + a.args) - len(a.defaults)) + a.defaults
    for argument, default in zip(a.posonlyargs + a.args, defaults):
        yield argument.arg, inspect.Parameter.POSITIONAL_OR_KEYWORD, default
    for argument, default in zip(a.kwonlyargs, a.kw_defaults):
        yield argument.arg, inspect.Parameter.KEYWORD_ONLY, default


def compare(function: ast.FunctionDef, mine):
    signature = inspect.signature(mine).parameters
    theirs = list(arguments(function))
    positional = [name for name, kind, _ in theirs if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert [name for name in signature][: len(positional)] == positional
    for name, kind, default in theirs:
        if name == "self":
            continue
        assert name in signature, f"{function.name} has no {name}"
        assert signature[name].kind is kind
        if default is None:
            continue
        try:
            value = ast.literal_eval(default)
        except ValueError:
            continue  # an expression: timedelta(minutes=10)
        assert signature[name].default == value, f"{function.name}({name}=)"


def definitions(tree: ast.Module):
    return [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and node.name not in OF_BACK_ENDS
    ]


@pytest.mark.parametrize("module", MODULES)
def test_names_and_arguments_of_the_newest_are_here(module):
    for node in definitions(published("0.4.2", module)):
        mine = getattr(ours(module), node.name)
        if isinstance(node, ast.FunctionDef):
            if node.name not in ("init_process_group", "all_reduce"):
                compare(node, mine)
        elif node.name in ("ParameterServer", "VllmColocateWorkerExtension"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (
                    method.name == "__init__" or not method.name.startswith("_")
                ):
                    compare(method, getattr(mine, method.name))


def test_fields_of_the_data_types_are_here():
    for node in definitions(published("0.4.2", "data_types")):
        fields = [field.target.id for field in node.body if isinstance(field, ast.AnnAssign)]
        mine = getattr(ours("data_types"), node.name)
        given = list(inspect.signature(mine).parameters)
        assert given[: len(fields)] == fields or given[-len(fields) :] == fields


def test_top_level_names_are_here():
    (names,) = [
        ast.literal_eval(node.value)
        for node in published("0.4.2", "__init__").body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    for name in names:
        assert getattr(importlib.import_module("checkpoint_engine"), name) is not None
        assert getattr(importlib.import_module("ckpt_engine"), name) is not None


def test_what_older_scripts_import_from_ps_is_there():
    for node in definitions(published("0.1.2", "ps")):
        if node.name not in ("run_from_cli", "FileMeta"):
            getattr(ours("ps"), node.name)


def test_both_import_names_are_one():
    for module in ("ps", "api", "data_types", "distributed", "device_utils", "p2p_store", "worker"):
        compat = importlib.import_module(f"checkpoint_engine.{module}")
        own = importlib.import_module(f"ckpt_engine.{module}")
        for name in compat.__all__:
            assert getattr(compat, name) is getattr(own, name, getattr(compat, name))
