"""A base model whose weights stay quantised in memory while an adapter on it is trained.

On a CPU MLX's quantised product takes some thirteen times as long as making the weights dense and
multiplying by OpenBLAS, so there each layer does that, once forward and once backward.
"""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.quantized import QuantizedEmbedding, QuantizedLinear, quantize

from services.runtime.folder import inspect_model_folder
from services.runtime.model import load_lazily, load_tokenizer, on_cpu, prepare

GROUP_SIZES = (64, 32)
# So many weights are dense at a time; making them takes four times their memory.
PIECE = 4 * 1024 * 1024


def load_packed(path: Path, bits: int) -> tuple[Any, Any, dict[str, Any]]:
    """Load as `load_base` does, but quantise what is not, and keep it so in memory.

    A model that is stored quantised keeps its own bits.
    """
    inspect_model_folder(path, hash_files=False)
    prepare()
    model, config = load_lazily(path)
    if on_cpu():
        # Scales too: the CPU computes with 16-bit floats in software.
        model.set_dtype(mx.float32)
    if not is_quantized(config):
        quantize(model, bits=bits, class_predicate=lambda _, module: _settings(module, bits))
    if on_cpu():
        compute_dense(model)
    mx.eval(model.parameters())
    return model, load_tokenizer(path, config.get("eos_token_id")), config


def is_quantized(config: dict[str, Any]) -> bool:
    """Tell from config.json whether a model is stored quantised."""
    return "quantization" in config or "quantization_config" in config


def compute_dense(model: Any) -> None:
    """Let every quantised layer multiply by its dense weights."""
    for _, module in model.named_modules():
        for kind in (DenseLinear, DenseEmbedding):
            if type(module) is kind.__base__:
                module.__class__ = kind


class DenseLinear(QuantizedLinear):
    """A quantised layer whose product is that of its dense weights."""

    def __call__(self, x: mx.array) -> mx.array:
        """Apply the layer."""
        y = _product(self, x)
        return y + self["bias"] if "bias" in self else y


class DenseEmbedding(QuantizedEmbedding):
    """A quantised embedding whose product, where it is the head, is that of its dense weights."""

    def as_linear(self, x: mx.array) -> mx.array:
        """Apply it as the head."""
        return _product(self, x)


def _product(layer: Any, x: mx.array) -> mx.array:
    """Give x @ W.T. The dense W is made in pieces, and again for the gradient, never kept."""
    count = layer.weight.shape[0]
    size = max(1, PIECE // x.shape[-1])
    pieces = [slice(start, start + size) for start in range(0, count, size)]

    def dense(piece: slice, after: mx.array) -> mx.array:
        # `after` is what has to be there first: else all pieces would be made at once.
        packed, scales = mx.depends([layer.weight[piece], layer.scales[piece]], [after])
        biases = layer.get("biases")
        shifts = None if biases is None else biases[piece]
        shape = {"group_size": layer.group_size, "bits": layer.bits, "mode": layer.mode}
        return mx.dequantize(packed, scales, shifts, **shape).astype(after.dtype)

    @mx.custom_function
    def product(x: mx.array) -> mx.array:
        found = [x]
        for piece in pieces:
            found.append(x @ dense(piece, found[-1]).T)
        return mx.concatenate(found[1:], axis=-1)

    @product.vjp
    def product_vjp(_x: mx.array, cotangent: mx.array, _y: mx.array) -> mx.array:
        found = cotangent[..., pieces[0]] @ dense(pieces[0], cotangent)
        for piece in pieces[1:]:
            found = found + cotangent[..., piece] @ dense(piece, found)
        return found

    y: mx.array = product(x)  # type: ignore[assignment]
    return y


def _settings(module: Module, bits: int) -> bool | dict[str, Any]:
    """Give how a module is quantised; one whose rows no group divides stays dense."""
    if not hasattr(module, "to_quantized"):
        return False
    size = next((s for s in GROUP_SIZES if module.weight.shape[-1] % s == 0), None)
    return size is not None and {"group_size": size, "bits": bits, "mode": "affine"}
