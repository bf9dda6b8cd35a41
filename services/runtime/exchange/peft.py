"""The form of Hugging Face's PEFT: names, orientation and configuration; plain Python.

Facts from PEFT's description of its checkpoints and LoraConfig: the tensors of layer X stand under
`base_model.model.X` as `lora_A.weight` (rank, inputs), `lora_B.weight` (outputs, rank) and with
DoRA `lora_magnitude_vector` (outputs), an embedding's as `lora_embedding_A` (rank, tokens) and
`lora_embedding_B` (features, rank); the product is scaled by lora_alpha / r, with rsLoRA by
lora_alpha / sqrt(r).
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from services.runtime.exchange.layout import DORA, HEAD, LORA, AdapterError, Pair, some
from services.runtime.safetensors import Tensor

WEIGHTS = "adapter_model.safetensors"
PIN = "mlx_hub.base_digest"
"""In the weights' own metadata: PEFT's configuration has no place for it, and this goes along."""
PREFIX = "base_model.model."
A, B, M = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
LOOKUP_A, LOOKUP_B = ".lora_embedding_A", ".lora_embedding_B"
EMBEDDING = "embed_tokens"
"""What the embedding is called in all architectures below."""
COPIES = tuple(f".{layer}.base_layer.weight" for layer in (EMBEDDING, HEAD))
"""Of the base model: PEFT saves them with an adapted embedding, unless it is told not to."""
# MLX-LM's names of these are Hugging Face's; of others they may differ, and a wrong guess would be
# an adapter that loads elsewhere and does nothing.
SAME_NAMES = frozenset({
    "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "olmo2", "phi3", "qwen2",
    "qwen3", "smollm3", "starcoder2",
})  # fmt: skip
# Each with the values under which an adapter is what this module takes it for.
_MEANINGS: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": (None, "CAUSAL_LM"),
    "bias": ("none",),
    "fan_in_fan_out": (False, None),
    # pissa, olora, loftq and others change the base model as well.
    "init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal"),
}
# What PEFT reads only while it trains, or what says where and by whom.
_NEUTRAL = frozenset({
    "auto_mapping", "base_model_name_or_path", "eva_config", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "target_modules", "loftq_config",
})  # fmt: skip
_HONOURED = frozenset(
    {"r", "lora_alpha", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern"}
)
_PATTERN = re.compile(r"\^?([\w.]+)", re.ASCII)
_MAX_RANK = 4096


def read_config(config: Mapping[str, Any]) -> tuple[str, float]:
    """Refuse a configuration that means more than this hub honours; give method and dropout."""
    for name, allowed in _MEANINGS.items():
        value = config.get(name, None if name == "peft_type" else allowed[0])
        if not any(value is one or (one and value == one) for one in allowed):
            raise AdapterError(
                f"its configuration has {name} {_shown(value)}; only "
                f"{' or '.join(_shown(one) for one in allowed if one is not None)} is imported"
            )
    known = {*_MEANINGS, *_NEUTRAL, *_HONOURED}
    if further := sorted(name for name, v in config.items() if v and name not in known):
        name = further[0]
        raise AdapterError(
            f"its configuration has {name} {_shown(config[name])}, which this hub does not honour; "
            "merge or retrain the adapter without it"
        )
    dropout = config.get("lora_dropout", 0.0)
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise AdapterError("its configuration's lora_dropout is not a number from 0 to below 1")
    return (DORA if config.get("use_dora") else LORA), float(dropout)


def read_pairs(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Pair]:
    """Find the adapted layers by the tensors' names; refuse one too many or too few."""
    magnitude = (M,) if config.get("use_dora") else ()
    modules: dict[str, dict[str, str]] = {}
    for name in sorted(tensors.keys() - copies_in(tensors).keys()):
        module, part = _split(name, (A, B, LOOKUP_A, LOOKUP_B, *magnitude))
        modules.setdefault(module, {})[part] = name
    for module, found in sorted(modules.items()):
        parts = (*_part_names(module), *magnitude)
        if missing := [part for part in parts if part not in found]:
            raise AdapterError(f"layer {module!r} has no {missing[0].lstrip('.')}")
        if beside := sorted(found.keys() - set(parts)):
            raise AdapterError(f"layer {module!r} has {beside[0].lstrip('.')} as well")
    _check_targets(config.get("target_modules"), modules)
    scales = {module: _rank_and_scale(config, module) for module in modules}
    return {
        module: Pair(
            found[_part_names(module)[0]],
            found[_part_names(module)[1]],
            found.get(M),
            *scales[module],
            turned=True,
            looked_up=is_embedding(module),
        )
        for module, found in modules.items()
    }


def copies_in(names: Iterable[str]) -> dict[str, str]:
    """Find copies of the base model's embedding and head: the tensors' names and the layers'."""
    return {
        name: name.removeprefix(PREFIX).removesuffix(".base_layer.weight")
        for name in names
        if name.startswith(PREFIX) and name.endswith(COPIES)
    }


def _split(name: str, parts: Collection[str]) -> tuple[str, str]:
    """Take a tensor's name apart: the layer's and the part."""
    bare = name.removesuffix(".weight")
    part = next((p for p in parts if bare.endswith(_bare(p))), None)
    if part is None or not name.startswith(PREFIX):
        raise AdapterError(f"tensor {name!r} is no part of a LoRA pair")
    return bare.removesuffix(_bare(part)).removeprefix(PREFIX), part


def is_embedding(module: str) -> bool:
    """Tell by its name whether a layer is the embedding."""
    return module.rpartition(".")[2] == EMBEDDING


def pair_names(module: str) -> tuple[str, str]:
    """Name the tensors of a layer's pair."""
    a, b = _part_names(module)
    return PREFIX + module + a, PREFIX + module + b


def _part_names(module: str) -> tuple[str, str]:
    return (LOOKUP_A, LOOKUP_B) if is_embedding(module) else (A, B)


def compose_config(
    pairs: Mapping[str, Pair], layers: Collection[str], method: str, dropout: float
) -> dict[str, Any]:
    """Write the configuration of an adapter of one rank and scale."""
    rank, scale = next((pair.rank, pair.scale) for pair in pairs.values())
    alpha = scale * rank
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": dropout,
        "target_modules": _targets(pairs, layers),
        "bias": "none",
        "use_dora": method == DORA,
        "use_rslora": False,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }


def _targets(pairs: Mapping[str, Pair], layers: Collection[str]) -> list[str]:
    """Name the layers as shortly as names none besides; PEFT compares the ends of names."""
    short = {module.rpartition(".")[2] for module in pairs}
    meant = {name for name in layers if name.rpartition(".")[2] in short}
    return sorted(short if meant == set(pairs) else pairs)


def _check_targets(targets: Any, modules: Collection[str]) -> None:
    """Compare the configuration's list with the tensors; a pattern says nothing they don't."""
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        return
    found = {t: [m for m in modules if m == t or m.endswith(f".{t}")] for t in targets}
    if empty := sorted(target for target, matched in found.items() if not matched):
        raise AdapterError(f"target_modules names {some(empty)}, of which there are no weights")
    if beside := sorted(set(modules).difference(*found.values())):
        raise AdapterError(f"there are weights of {some(beside)}, not among target_modules")


def _rank_and_scale(config: Mapping[str, Any], module: str) -> tuple[int, float]:
    rank = _by_pattern(config, "rank_pattern", module, config.get("r", 8))
    alpha = _by_pattern(config, "alpha_pattern", module, config.get("lora_alpha", 8))
    if type(rank) is not int or not 0 < rank <= _MAX_RANK:
        raise AdapterError(f"its configuration's rank {_shown(rank)} is not from 1 to {_MAX_RANK}")
    if not _is_number(alpha):
        raise AdapterError(f"its configuration's lora_alpha {_shown(alpha)} is not a number")
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(config: Mapping[str, Any], field: str, module: str, default: Any) -> Any:
    """Give a layer's own value: the first pattern that its name is or ends with."""
    patterns = config.get(field) or {}
    if not isinstance(patterns, dict):
        raise AdapterError(f"its configuration's {field} is not a map")
    for pattern, value in patterns.items():
        plain = _PATTERN.fullmatch(pattern)
        if plain is None:
            raise AdapterError(
                f"{field} has the pattern {pattern!r}; only plain names are honoured"
            )
        whole = pattern.startswith("^")
        if module == plain[1] or (not whole and module.endswith(f".{plain[1]}")):
            return value
    return default


def _bare(part: str) -> str:
    return part.removesuffix(".weight")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any) -> str:
    return repr(value)[:80]
