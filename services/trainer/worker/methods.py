"""What is trained: a low-rank pair beside the layers, a magnitude too, or the layers themselves."""

from collections.abc import Iterable
from typing import Any

import mlx.core as mx
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.quantized import QuantizedEmbedding, QuantizedLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from services.trainer.recipe import Method, Recipe
from services.trainer.worker.data import derived_seed
from services.trainer.worker.failures import untrainable

# What linear_to_lora_layers takes.
_LINEAR = (Linear, QuantizedLinear, Embedding, QuantizedEmbedding)
_SWITCH = (SwitchLinear, QuantizedSwitchLinear)
# mlx-lm's DoRA finds the width of a packed row only where a word holds a whole number of weights.
_DORA_BITS = (2, 4, 8)


def prepare(model: Any, recipe: Recipe) -> dict[str, Any]:
    """Freeze the model but for what the recipe trains; give adapter_config.json's words for it.

    The seed decides the first weights of adapters.
    """
    layers = _chosen(model, recipe)
    keys = _resolve(layers, recipe)
    model.freeze()
    if recipe.method is Method.FULL:
        _unfreeze(layers, keys)
    else:
        _adapt(model, layers, keys, recipe)
    if recipe.grad_checkpoint:
        _checkpoint(layers)
    mx.eval(model.parameters())
    config: dict[str, Any] = {"fine_tune_type": str(recipe.method), "num_layers": len(layers)}
    if recipe.method is not Method.FULL:
        config["lora_parameters"] = _parameters(recipe, keys)
    return config


def _chosen(model: Any, recipe: Recipe) -> list[Any]:
    count = len(model.layers)
    if recipe.lora_layers > count:
        raise untrainable(
            f"lora_layers is {recipe.lora_layers} and the base model has {count} layers; "
            "lower lora_layers, or leave it out for all of them"
        )
    return list(model.layers[-recipe.lora_layers :])


def _resolve(layers: list[Any], recipe: Recipe) -> list[str] | None:
    """Give the paths in a layer that target_keys name; None is all of them."""
    if not recipe.target_keys:
        return None
    paths = {
        path
        for layer in layers
        for path, module in layer.named_modules()
        if isinstance(module, (*_LINEAR, *_SWITCH)) or hasattr(module, "to_lora")
    }
    found = {
        key: {path for path in paths if path == key or path.endswith(f".{key}")}
        for key in recipe.target_keys
    }
    if missing := [key for key, matches in found.items() if not matches]:
        raise untrainable(
            f"target_keys: the trained layers have no {', '.join(missing)}; "
            f"they have {', '.join(sorted(paths))}"
        )
    return sorted(set().union(*found.values()))


def _parameters(recipe: Recipe, keys: list[str] | None) -> dict[str, Any]:
    """Give the adapter's shape under mlx-lm's names."""
    shape: dict[str, Any] = {
        "rank": recipe.lora_rank,
        "scale": recipe.lora_scale,
        "dropout": recipe.lora_dropout,
    }
    return shape if keys is None else {**shape, "keys": keys}


def _adapt(model: Any, layers: list[Any], keys: list[str] | None, recipe: Recipe) -> None:
    dora = recipe.method is Method.DORA
    if dora:
        _check_dora(layers, keys)
    mx.random.seed(derived_seed(recipe.seed, 0))
    linear_to_lora_layers(model, len(layers), _parameters(recipe, keys), use_dora=dora)


def _check_dora(layers: list[Any], keys: list[str] | None) -> None:
    modules = [pair for layer in layers for pair in layer.named_modules()]
    for path, module in modules:
        if keys is not None and path not in keys:
            continue
        if isinstance(module, _SWITCH):
            raise untrainable(
                f"dora can't train a mixture's experts, {path}; use method lora, or name other "
                "layers in target_keys"
            )
        if isinstance(module, QuantizedLinear) and module.bits not in _DORA_BITS:
            raise untrainable(
                f"dora can't train a base model of {module.bits} bits; use method lora"
            )


def _unfreeze(layers: Iterable[Any], keys: list[str] | None) -> None:
    for layer in layers:
        for path, module in layer.named_modules():
            if keys is None or path in keys:
                module.unfreeze(recurse=False)


def _checkpoint(layers: Iterable[Any]) -> None:
    """Recompute layers for their gradient. It changes their classes for this process's life."""
    # It imports the rest of mlx-lm's trainer, which nothing else here needs.
    from mlx_lm.tuner.trainer import grad_checkpoint  # noqa: PLC0415

    for layer in {type(layer): layer for layer in layers}.values():
        grad_checkpoint(layer)  # type: ignore[no-untyped-call]
