"""Bring an adapter in: `python -m services.runtime.exchange.bring_in SOURCE BASE DEST`.

SOURCE is a folder in PEFT's or mlx-lm's form, BASE the verified folder of the base model, DEST must
not exist; the adapter lies there in mlx-lm's form when all is well. Prints a line for each step,
then one line of JSON; on bad input one line on stderr, exit status 2. A child process, because it
loads MLX.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx

from services.runtime.exchange import peft
from services.runtime.exchange.fuse import apply_adapter
from services.runtime.exchange.layout import (
    CONFIG,
    DORA,
    WEIGHTS,
    AdapterError,
    check_fit,
    check_lookup,
    layer_shapes,
    place,
    some,
)
from services.runtime.exchange.order import tools
from services.runtime.exchange.source import PEFT, Source, names_of, read_source
from services.runtime.folder import (
    FileDigest,
    FolderError,
    hash_folder,
    inspect_model_folder,
)
from services.runtime.model import load_lazily, prepare
from services.runtime.safetensors import SafetensorsError
from services.runtime.weights import save_weights

type Say = Callable[[str], None]


def bring_in(
    folder: Path, base: Path, base_digest: str, dest: Path, say: Say
) -> tuple[Source, tuple[FileDigest, ...]]:
    """Check and convert; give what was read. Raises AdapterError for what can't be imported."""
    say(f"validating {folder.name}")
    private = dest.with_name(f"{dest.name}.source")
    read = take_source(folder, private)
    source = read_source(private)
    kind = inspect_model_folder(base, hash_files=False).model_type
    if source.format == PEFT and kind not in peft.SAME_NAMES:
        raise AdapterError(
            f"what PEFT calls the layers of a {kind} model is not known here; convert the adapter "
            "to mlx-lm's form first"
        )
    if source.pinned and source.pinned != base_digest:
        raise AdapterError(
            f"its files say that it was trained on a base model of digest {source.pinned[:12]}…, "
            f"and this model's is {base_digest[:12]}…; import it into a model over its own base"
        )
    layers = layer_shapes(base)
    looked_up = [module for module, pair in source.pairs.items() if pair.looked_up]
    check_lookup(looked_up, layers, dora=source.method == DORA)
    check_fit(source.pairs, source.tensors, layers)
    say("converting")
    dest.mkdir()
    rank, scale = _write_weights(source, private / source.weights, dest / WEIGHTS)
    model, _ = load_lazily(base)
    _check_copies(model, source, private / source.weights)
    config = _config(source, len(model.layers), rank, scale) | {"base_digest": base_digest}
    (dest / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    apply_adapter(model, dest)
    _check_layers(model, source)
    return source, read


def take_source(folder: Path, private: Path) -> tuple[FileDigest, ...]:
    """Copy the files that count to where nobody else writes: what is checked is what is read."""
    names = names_of(folder) & {CONFIG, WEIGHTS, peft.WEIGHTS}
    private.mkdir(parents=True)
    for name in names:
        shutil.copyfile(folder / name, private / name)
    return hash_folder(private)


def _write_weights(source: Source, stored: Path, target: Path) -> tuple[int, float]:
    """Write the pairs in mlx-lm's orientation, all of one rank and scale; give these.

    A lower rank is filled up with zeros and another scale multiplied in, which changes no product.
    """
    weights: Any = mx.load(str(stored))
    rank = max(pair.rank for pair in source.pairs.values())
    scales = {pair.scale for pair in source.pairs.values()}
    scale = scales.pop() if len(scales) == 1 else 1.0
    found: dict[str, mx.array] = {}
    for module, pair in source.pairs.items():
        a, b = (weights[name].astype(mx.float32) for name in (pair.a, pair.b))
        a, b = (a.T, b.T) if pair.turned else (a, b)
        wider = rank - pair.rank
        b = b if pair.scale == scale else b * (pair.scale / scale)
        found[f"{module}.lora_a"] = mx.pad(a, [(0, 0), (0, wider)]) if wider else a
        found[f"{module}.lora_b"] = mx.pad(b, [(0, wider), (0, 0)]) if wider else b
        if pair.m:
            found[f"{module}.m"] = weights[pair.m].astype(mx.float32)
    if bad := sorted(name for name, value in found.items() if not mx.isfinite(value).all().item()):
        raise AdapterError(f"the weights of {some(bad)} are not finite")
    save_weights(target, found)
    return rank, scale


def _check_copies(model: Any, source: Source, stored: Path) -> None:
    """Refuse an embedding or head beside an adapter that is another than the base model's."""
    weights: Any = mx.load(str(stored)) if source.copies else {}
    modules = dict(model.named_modules())
    for name, module in source.copies.items():
        copy, own = weights[name], modules[module].weight if module in modules else None
        if own is None or not mx.array_equal(copy.astype(own.dtype), own):
            raise AdapterError(
                f"tensor {name!r} is not what the base model has, and adapters alone are honoured; "
                "if that was not trained, save with save_embedding_layers=False"
            )


def _config(source: Source, blocks: int, rank: int, scale: float) -> dict[str, Any]:
    """Write mlx-lm's configuration: which layers of the last blocks are adapted, and outside."""
    places = {module: place(module) for module in source.pairs}
    first = min((found[0] for found in places.values() if found), default=blocks)
    return {
        "fine_tune_type": source.method,
        "num_layers": blocks - first,
        "lora_parameters": {
            "rank": rank,
            "scale": scale,
            "dropout": source.dropout,
            "keys": sorted({found[1] if found else module for module, found in places.items()}),
        },
    }


def _check_layers(model: Any, source: Source) -> None:
    """Refuse what serving would refuse."""
    # After prepare.
    from mlx_lm.models.switch_layers import SwitchGLU, SwitchMLP  # noqa: PLC0415
    from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear  # noqa: PLC0415
    from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear  # noqa: PLC0415

    modules = dict(model.named_modules())
    kinds = {name: type(modules.get(name)) for name in source.pairs}
    served = {LoRALinear, LoRAEmbedding, LoRASwitchLinear, DoRALinear, DoRAEmbedding}
    odd = {name for name, kind in kinds.items() if kind not in served}
    for name in (name for name, kind in kinds.items() if kind is LoRASwitchLinear):
        if type(modules[name.rpartition(".")[0]]) not in (SwitchGLU, SwitchMLP):
            odd.add(name)
    if odd:
        raise AdapterError(
            f"{some(sorted(odd))} can't be adapted here; linear layers, embeddings, and experts "
            "within SwitchGLU and SwitchMLP can"
        )
    if not {LoRAEmbedding, DoRAEmbedding}.isdisjoint(kinds.values()):
        _check_embedding(model)


def _check_embedding(model: Any) -> None:
    from mlx_lm.models.cache import make_prompt_cache  # noqa: PLC0415  after prepare

    try:
        model(mx.array([[0]]), cache=make_prompt_cache(model))  # nothing is computed
    except AttributeError as error:
        raise AdapterError(
            "its embedding is adapted, and the base model computes with the embedding's weights "
            "themselves"
        ) from error


def main(arguments: list[str]) -> int:
    """Run the import; return the exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m services.runtime.exchange.bring_in")
    parser.add_argument("source", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("dest", type=Path)
    parser.add_argument("--base-digest", required=True, help="of the folder BASE")
    options = parser.parse_args(arguments)
    mx.set_default_device(mx.cpu)
    prepare()
    try:
        found, read = bring_in(
            options.source, options.base, options.base_digest, options.dest, _say
        )
    except (AdapterError, FolderError, SafetensorsError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    told = {
        "format": found.format,
        "pinned": bool(found.pinned),
        "stated_base": found.stated_base[:300],
        "source_files": [asdict(file) for file in read],
        "files": [asdict(file) for file in hash_folder(options.dest)],
        "environment": tools(),
    }
    print(json.dumps(told))
    return 0


def _say(step: str) -> None:
    print(step, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
