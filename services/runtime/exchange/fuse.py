"""A version's adapter merged into its base model, by MLX-LM's own layers, as a model folder."""

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.quantized import quantize
from mlx.utils import tree_flatten, tree_unflatten

from services.runtime.exchange.layout import AdapterError
from services.runtime.folder import INDEX, list_files
from services.runtime.huggingface import pack
from services.runtime.model import load_lazily
from services.runtime.weights import save_weights

_REWRITTEN = {"config.json", INDEX}


def fuse(base: Path, adapter: Path, folder: Path, bits: int) -> None:
    """Write the merged model into the existing, empty `folder`; pack it into `bits` unless 0.

    Sums are made in float32 and stored in the type that the base model stores. A packed base model
    becomes dense, but for `bits` of its own: then layers without an adapter stay as they are, bit
    for bit, and the others are packed in the same way again.
    """
    from mlx_lm.utils import dequantize_model, save_config  # noqa: PLC0415  after prepare

    model, config = load_lazily(base)
    types = _types(model)
    settings = _own_settings(model) if bits == _bits_of(config) else {}
    model.set_dtype(mx.float32)
    apply_adapter(model, adapter)
    fused = {n: m.fuse(dequantize=True) for n, m in model.named_modules() if hasattr(m, "fuse")}
    model.update_modules(tree_unflatten(list(fused.items())))
    if not settings and _is_packed(config):
        model = dequantize_model(model)
        config.pop("quantization", None)
        config.pop("quantization_config", None)
    model.update(tree_unflatten([(n, _as(v, n, types)) for n, v in _parameters(model).items()]))
    if settings:
        chosen = {name: settings[name] for name in fused if name in settings}
        quantize(model, class_predicate=lambda name, _: chosen.get(name, False))
    elif bits:
        model, config = pack(model, config, bits)
    for file in list_files(base):
        if file.suffix != ".safetensors" and file.name not in _REWRITTEN:
            shutil.copyfile(file, folder / file.name)
    sees = "vision_tower" in getattr(model, "model", {})
    save_config(config, folder / "config.json", keep_vision_config=sees)
    weights = _parameters(model)
    del model, fused  # they would keep alive what is written already
    save_weights(folder / "model.safetensors", weights)


def apply_adapter(model: Any, adapter: Path) -> None:
    """Put an adapter onto a model as MLX-LM does, which refuses one that does not fit."""
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415  after prepare

    try:
        load_adapters(model, str(adapter))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise AdapterError(f"MLX-LM can't put the adapter onto the base model: {reason}") from error


def _parameters(model: Any) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))


def _types(model: Any) -> dict[str, mx.Dtype]:
    """Give the float type that each layer is stored in: of its weights, or of their scales."""
    found: dict[str, mx.Dtype] = {}
    for name, value in _parameters(model).items():
        if mx.issubdtype(value.dtype, mx.floating):
            found.setdefault(name.rpartition(".")[0], value.dtype)
    return found


def _as(value: mx.array, name: str, types: dict[str, mx.Dtype]) -> mx.array:
    if not mx.issubdtype(value.dtype, mx.floating):
        return value
    return value.astype(types.get(name.rpartition(".")[0], value.dtype))


def _is_packed(config: dict[str, Any]) -> bool:
    return bool(config.get("quantization") or config.get("quantization_config"))


def _bits_of(config: dict[str, Any]) -> int:
    found = config.get("quantization") or {}
    return int(found.get("bits", 0)) if isinstance(found, dict) else 0


def _own_settings(model: Any) -> dict[str, dict[str, Any]]:
    """Give how each packed layer is packed."""
    return {
        name: {"group_size": m.group_size, "bits": m.bits, "mode": m.mode}
        for name, m in model.named_modules()
        if "scales" in m and hasattr(m, "group_size")
    }
