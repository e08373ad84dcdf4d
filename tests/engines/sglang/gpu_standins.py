"""Stand-ins for what SGLang imports and a machine without a GPU lacks: kernels, and packages that only other models or features need.

Modules of `NAMES` that are really missing are found as empty ones whose attributes are anything; torch's CUDA calls that ask what GPU there is describe one.
"""

import importlib.abc
import importlib.machinery
import sys
import types

NAMES = set(
    "triton torchvision torchaudio flashinfer tilelang cutlass quack soundfile decord decord2 av sgl_kernel deep_gemm deep_ep outlines datasets kernels pynvml"
    " torch_memory_saver timm flash_mla cuda blobfile easydict gguf scipy IPython xxhash zstandard openai_harmony ninja".split()
)


class Anything:
    """Called, indexed, or asked for an attribute, it is anything again; as a decorator it changes nothing."""

    def __init__(self, *_, **__): ...

    def __call__(self, *given, **named):
        return given[0] if len(given) == 1 and not named and callable(given[0]) else Anything()

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Anything()

    def __getitem__(self, _):
        return Anything()

    def __mro_entries__(self, _):
        return (object,)

    def __iter__(self):
        return iter(())

    def __bool__(self):
        return False

    def __or__(self, other):
        return other

    __ror__ = __or__

    def __lt__(self, _):
        return False

    __gt__ = __le__ = __ge__ = __lt__


class _Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class _Class(metaclass=_Meta):
    """Base of what is imported under a capital name, to be derived from or to be an annotation."""

    def __init__(self, *_, **__): ...

    def __init_subclass__(cls, **_): ...


class _Module(types.ModuleType):
    __path__ = []
    __version__ = "0.0.0"

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        known = sys.modules.get(f"{self.__name__}.{name}")
        return known or (_Meta(name, (_Class,), {}) if name[:1].isupper() else Anything())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in NAMES else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module): ...


def install():
    """Once a process, before SGLang is imported."""
    import xgrammar  # noqa: F401  before the stand-ins: it looks for some of them

    sys.meta_path.append(_Finder())
    _register_again()
    import triton

    target = types.SimpleNamespace(backend="cpu")
    triton.runtime = types.SimpleNamespace(driver=types.SimpleNamespace(active=types.SimpleNamespace(get_current_target=lambda: target)))


def _register_again():
    """SGLang registers kinds of models that a newer transformers than its own knows already."""
    from transformers.models.auto import auto_factory, configuration_auto

    for mapping in (configuration_auto._LazyConfigMapping, auto_factory._LazyAutoMapping):
        register = mapping.register
        mapping.register = lambda self, key, value, exist_ok=False, register=register: register(self, key, value, exist_ok=True)
