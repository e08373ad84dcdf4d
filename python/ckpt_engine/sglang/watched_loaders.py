"""Which parts of a model an update has reached, told from the calls of the parameters' loaders: SGLang's models do not say what they have loaded."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Dict, List, Optional, Set, Tuple, Type


class WatchedLoaders:
    """Between ``with`` and its end every parameter's ``weight_loader`` notes its calls; afterwards all is as before. Of one model and one update."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._parts: Dict[str, Set[Any]] = {}  # by parameter: the parts that came; None for the whole
        self._undo: List[Tuple[Any, str, Any]] = []

    def __enter__(self) -> WatchedLoaders:
        for name, parameter in self._model.named_parameters():
            self._parts[name] = set()
            slot = "_weight_loader" if hasattr(parameter, "_weight_loader") else "weight_loader"
            before = getattr(parameter, slot, None)
            setattr(parameter, slot, self._noting(self._parts[name], before or _default_loader()))
            self._undo.append((parameter, slot, before))
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        for parameter, slot, before in self._undo:
            delattr(parameter, slot) if before is None else setattr(parameter, slot, before)
        self._undo.clear()

    @staticmethod
    def _noting(parts: Set[Any], loader: Any) -> Any:
        def load(parameter: Any, tensor: Any, *given: Any, **named: Any) -> Any:
            result = loader(parameter, tensor, *given, **named)
            shard = named.get("shard_id", named.get("loaded_shard_id", given[0] if len(given) == 1 else None))
            parts.add((named["expert_id"], shard) if "expert_id" in named else shard)
            return result

        return load

    def untouched(self, name: str) -> bool:
        """Whether nothing has come of a parameter."""
        return not self._parts[name]

    def note(self, name: str) -> None:
        """All of a parameter has come in another way."""
        self._parts[name].add(None)

    def missing(self) -> List[str]:
        """Parameters of which something has not come, sorted, with the parts. Of quantised models nothing is told: not all of their parameters are in
        checkpoints."""
        if any(type(getattr(module, "quant_config", None)).__name__ != "NoneType" for module in self._model.modules()):
            return []
        lacking: List[str] = []
        owners = dict(self._model.named_modules())
        for name, came in self._parts.items():
            module = owners[name.rpartition(".")[0]]
            if not came:
                lacking.append(name)
            elif None not in came:
                wanted = _wanted_parts(module, name.rpartition(".")[2], came)
                lacking += [f"{name} (part {part})" for part in wanted if part not in came]
        return sorted(lacking)


def _wanted_parts(module: Any, parameter: str, came: Set[Any]) -> List[Any]:
    if came <= {"q", "k", "v"}:
        return ["q", "k", "v"]
    experts = [part for part in came if isinstance(part, tuple)]
    if experts:
        shards = ("w2",) if parameter.startswith("w2") else ("w1", "w3")
        return [(expert, shard) for expert in sorted({number for number, _ in experts}) for shard in shards]
    return list(range(len(getattr(module, "output_sizes", ()))))


def _default_loader() -> Any:
    from sglang.srt.model_loader.weight_utils import default_weight_loader

    return default_weight_loader
