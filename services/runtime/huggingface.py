"""Turning a Hugging Face-style folder into MLX-LM's form, and packing weights on the way.

MLX-LM knows each architecture's names and layouts; we write what it made, ourselves, because its
writer's bytes differ between platforms and it rewrites the tokenizer. Weights keep the type they
are stored in unless they are packed.
"""

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

from mlx.utils import tree_flatten

from services.runtime.folder import INDEX, FolderError, list_files
from services.runtime.model import load_lazily
from services.runtime.weights import save_weights

_GROUPS = (64, 32)  # how many weights share a scale: the usual number, and one for odd widths
_REWRITTEN = {"config.json", INDEX, "hf_quant_config.json"}


def convert_folder(source: Path, folder: Path, bits: int | None) -> None:
    """Write the inspected model at `source` in MLX-LM's form into the existing, empty `folder`.

    With `bits`, its matrices are packed so. Raises FolderError if MLX-LM can't build the model, or
    it is packed already.
    """
    from mlx_lm.utils import save_config  # noqa: PLC0415  after prepare

    if any(character in str(source) for character in "*?["):
        raise FolderError("MLX-LM can't read below a folder with *, ? or [ in its name; rename it")
    model, config = load_lazily(source)
    if bits:
        model, config = pack(model, config, bits)
    for file in list_files(source):
        if file.suffix != ".safetensors" and file.name not in _REWRITTEN:
            shutil.copyfile(file, folder / file.name)
    sees = "vision_tower" in getattr(model, "model", {})
    save_config(config, folder / "config.json", keep_vision_config=sees)
    weights = dict(tree_flatten(model.parameters()))
    del model  # it would keep alive what is written already
    save_weights(folder / "model.safetensors", weights)


def pack(model: Any, config: dict[str, Any], bits: int) -> tuple[Any, dict[str, Any]]:
    """Pack a dense model's matrices into so many bits; raises FolderError where that can't be."""
    from mlx_lm.utils import quantize_model  # noqa: PLC0415  after prepare

    if config.get("quantization") or config.get("quantization_config"):
        raise FolderError("'config.json' says that the model is quantised; import it as it is")
    widths = [m.weight.shape[-1] for m in model.modules() if hasattr(m, "to_quantized")]
    group = min(_GROUPS, key=lambda size: sum(width % size != 0 for width in widths))
    if all(width % group for width in widths):
        raise FolderError("no layer's width divides into groups of 32; import without quantising")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        return quantize_model(model, config, group, bits)
