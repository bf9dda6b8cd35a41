"""Reading an adapter that comes from elsewhere: in plain Python, before anything is mapped."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.runtime.exchange import peft
from services.runtime.exchange.layout import CONFIG, DORA, LORA, WEIGHTS, AdapterError, Pair
from services.runtime.folder import FolderError, list_files
from services.runtime.safetensors import Header, SafetensorsError, Tensor, read_header

MAX_CONFIG_BYTES = 1 << 20
PEFT, MLX = "peft", "mlx"
_FLOATS = {"F32", "F16", "BF16"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """A checked adapter, its weights not yet read."""

    format: str
    weights: str
    method: str
    dropout: float
    pairs: Mapping[str, Pair]
    tensors: Mapping[str, Tensor]
    pinned: str
    """Digest of the base model, as the files themselves state it; empty if they don't."""
    stated_base: str
    copies: Mapping[str, str] = field(default_factory=dict)
    """Tensors that are to be layers of the base model, and the layers' names."""


def read_source(folder: Path) -> Source:
    """Look into an adapter's folder; raises AdapterError for one that can't be imported."""
    names = names_of(folder)
    forms = [form for form, file in ((PEFT, peft.WEIGHTS), (MLX, WEIGHTS)) if file in names]
    if len(forms) != 1 or CONFIG not in names:
        raise AdapterError(
            f"give a folder that holds {CONFIG} and one of {peft.WEIGHTS} (PEFT) and {WEIGHTS} "
            "(mlx-lm)"
        )
    config = _read_config(folder / CONFIG)
    weights = peft.WEIGHTS if forms == [PEFT] else WEIGHTS
    header = _read_header(folder / weights)
    found = _from_peft(config, header) if forms == [PEFT] else _from_mlx(config, header)
    if not found.pairs:
        raise AdapterError(f"{weights} holds no tensors")
    if found.pinned and not _DIGEST.fullmatch(found.pinned):
        raise AdapterError("the digest of the base model that its files state is no SHA-256 in hex")
    return found


def names_of(folder: Path) -> set[str]:
    """List the files of an adapter's folder; refuse code, pickles and whatever else is odd."""
    if not folder.is_dir():
        raise AdapterError(f"{folder.name!r} is not a folder; give the folder of an adapter")
    try:
        return {file.name for file in list_files(folder)}
    except FolderError as error:
        raise AdapterError(str(error).replace("a model folder", "an adapter's folder")) from error


def _read_config(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise AdapterError(f"{CONFIG} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{CONFIG} is not valid JSON") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{CONFIG} is not a JSON object")
    return config


def _read_header(path: Path) -> Header:
    try:
        header = read_header(path)
    except SafetensorsError as error:
        raise AdapterError(f"{path.name} is no safetensors file: {error}") from error
    for name, tensor in header.tensors.items():
        if tensor.dtype not in _FLOATS:
            raise AdapterError(f"tensor {name!r} is of type {tensor.dtype}, not a float's")
    return header


def _from_peft(config: Mapping[str, Any], header: Header) -> Source:
    method, dropout = peft.read_config(config)
    stated = config.get("base_model_name_or_path")
    return Source(
        format=PEFT,
        weights=peft.WEIGHTS,
        method=method,
        dropout=dropout,
        pairs=peft.read_pairs(config, header.tensors),
        tensors=header.tensors,
        pinned=header.metadata.get(peft.PIN, ""),
        stated_base=stated if isinstance(stated, str) else "",
        copies=peft.copies_in(header.tensors),
    )


def _from_mlx(config: Mapping[str, Any], header: Header) -> Source:
    method = config.get("fine_tune_type", LORA)
    if method not in (LORA, DORA):
        raise AdapterError(
            f"its fine_tune_type is {str(method)[:40]!r}; only lora and dora are adapters, fuse "
            "others and import them as base models"
        )
    rank, scale, dropout = _parameters(config.get("lora_parameters"))
    parts = ("lora_a", "lora_b", "m") if method == DORA else ("lora_a", "lora_b")
    modules: dict[str, dict[str, str]] = {}
    for name in header.tensors:
        module, _, part = name.rpartition(".")
        if part not in parts:
            raise AdapterError(f"tensor {name!r} is no part of a {method} adapter")
        modules.setdefault(module, {})[part] = name
    for module, found in sorted(modules.items()):
        if missing := [part for part in parts if part not in found]:
            raise AdapterError(f"layer {module!r} has no {missing[0]}")
    pairs = {
        module: Pair(found["lora_a"], found["lora_b"], found.get("m"), rank, scale, turned=False)
        for module, found in modules.items()
    }
    pinned, stated = config.get("base_digest", ""), config.get("model", "")
    return Source(
        format=MLX,
        weights=WEIGHTS,
        method=method,
        dropout=dropout,
        pairs=pairs,
        tensors=header.tensors,
        pinned=pinned if isinstance(pinned, str) else "not a text",
        stated_base=Path(stated).name if isinstance(stated, str) else "",
    )


def _parameters(found: Any) -> tuple[int, float, float]:
    """Read an adapter's shape under mlx-lm's names."""
    match found:
        case {"rank": int(rank), "scale": int() | float() as scale, **rest} if (
            0 < rank <= 4096 and math.isfinite(scale) and not isinstance(rank, bool)
        ):
            dropout = rest.get("dropout", 0.0)
            if isinstance(dropout, int | float) and 0 <= dropout < 1:
                return rank, float(scale), float(dropout)
    raise AdapterError(f"{CONFIG} has no lora_parameters with a rank, a scale and a dropout")
