"""Which tensors an update lacks, told from what vLLM's reload has collected."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Set, Tuple


def missing_names(model: Any, config: Any, expected: Set[str], loaded: Set[str], info_of: Callable[[Any], Any]) -> List[str]:
    """Names of the checkpoint that ``model`` needs and that have not come, sorted.

    ``expected``: the model's parameters; ``loaded``: those of which its loader says that something came. A parameter that is made of several tensors
    (q, k and v; gate and up; experts) counts as loaded after the first of them: the parts are told from the reload's records.
    """
    packed = _packed_names(model)
    missing: Set[str] = set()
    loaded = set(loaded)
    for prefix, layer in model.named_modules():
        info = info_of(layer)
        loaded.update(parameter_names(prefix, info))
        if info.can_load() and 0 < info.load_numel < info.load_numel_total:
            missing.update(_missing_parts(prefix, layer, info, packed))
    if getattr(config, "quantization", None) is None:  # else parameters are optional, and named otherwise than in the checkpoint
        for name in expected - loaded - _tied_to_loaded(model, loaded, info_of):
            missing.update(_checkpoint_names(name, packed))
    return sorted(missing)


def parameter_names(prefix: str, info: Any) -> List[str]:
    """The parameters of a layer of which something has come, as the reload's record has it: models' loaders tell some by other names."""
    return [f"{prefix}.{parameter}" if prefix else parameter for parameter, _ in info.loaded_weights]


def _packed_names(model: Any) -> Dict[str, List[str]]:
    """"qkv_proj" -> ["q_proj", "k_proj", "v_proj"]; what is of one part only is left out."""
    mapping: Dict[str, List[str]] = getattr(model, "packed_modules_mapping", None) or {}
    return {name: parts for name, parts in mapping.items() if len(parts) > 1}


def _checkpoint_names(name: str, packed: Dict[str, List[str]]) -> List[str]:
    module, _, parameter = name.rpartition(".")
    prefix, _, leaf = module.rpartition(".")
    if leaf not in packed:
        return [name]
    return [".".join(filter(None, (prefix, part, parameter))) for part in packed[leaf]]


def _missing_parts(prefix: str, layer: Any, info: Any, packed: Dict[str, List[str]]) -> Iterator[str]:
    """Of a layer of which some elements came and not all. A parameter padded by the engine lacks elements, and no part."""
    came: Dict[str, List[Dict[str, Any]]] = {}
    for parameter, call in info.loaded_weights:
        came.setdefault(parameter, []).append(call.arguments)
    for parameter, calls in came.items():
        if any("expert_id" in call for call in calls):
            yield from _missing_experts(prefix, parameter, layer, calls)
            continue
        parts = {part for call in calls for part in _as_tuple(call.get("loaded_shard_id", call.get("shard_id")))}
        wanted = _wanted_parts(layer, parts)
        names = _checkpoint_names(f"{prefix}.{parameter}", packed)
        for index, part in enumerate(wanted):
            if part not in parts:
                yield names[index] if len(names) == len(wanted) else f"{prefix}.{parameter} (part {part})"


def _wanted_parts(layer: Any, parts: Set[Any]) -> List[Any]:
    """All parts, in the order of the checkpoint's names; empty when it came as one."""
    if None in parts:
        return []
    if parts <= {"q", "k", "v"}:
        return ["q", "k", "v"]
    return list(range(len(getattr(layer, "output_sizes", ()))))


def _missing_experts(prefix: str, parameter: str, layer: Any, calls: List[Dict[str, Any]]) -> Iterator[str]:
    came: Set[Tuple[int, str]] = {(int(call["expert_id"]), str(call.get("shard_id"))) for call in calls if call.get("expert_id") is not None}
    num_experts = int(getattr(layer, "global_num_experts", 0) or 1 + max((expert for expert, _ in came), default=-1))
    stem = prefix.replace(".routed_experts", "")
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    for expert in range(num_experts):
        for part in ("w2",) if parameter.startswith("w2") else ("w1", "w3"):
            if (expert, part) not in came:
                yield f"{stem}.{expert}.{names[part]}.{parameter.partition('_')[2]}"


def _as_tuple(part: Any) -> Tuple[Any, ...]:
    return part if isinstance(part, tuple) else (part,)


def _tied_to_loaded(model: Any, loaded: Set[str], info_of: Callable[[Any], Any]) -> Set[str]:
    """Parameters that share the memory of one that came: a tied output layer."""
    owner: Dict[int, List[str]] = {}
    for prefix, layer in model.named_modules():
        tensors = info_of(layer).kernel_tensors
        for name, tensor in (tensors[0] if tensors is not None else layer._parameters).items():
            if tensor is not None:
                owner.setdefault(id(tensor), []).append(f"{prefix}.{name}" if prefix else name)
    return {name for names in owner.values() if loaded & set(names) for name in names}
