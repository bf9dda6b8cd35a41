"""Take a version out: `python -m services.runtime.exchange.export FORM ORDER FOLDER WORK`.

FORM is `mlx` or `peft`, ORDER one line of JSON (`order.Order`), FOLDER exists and is empty, WORK
does not exist. Prints a line for each step, then one line of JSON, the report; on failure one line
on stderr, one of JSON that says the same (`_failed`), exit status 2. With `--tied`, which a service
says, it works behind serving, ends once its stdin does, and writes that line as services log. A
child process, because it loads MLX.
"""

import argparse
import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from services.chassis import logs
from services.runtime.exchange import peft
from services.runtime.exchange.fuse import apply_adapter, fuse
from services.runtime.exchange.layout import (
    CONFIG,
    DORA,
    FULL,
    WEIGHTS,
    AdapterError,
    check_fit,
    check_lookup,
    layer_shapes,
)
from services.runtime.exchange.order import (
    Order,
    check_base,
    report_of,
    take_adapter,
    write_report,
)
from services.runtime.exchange.parity import Parity, distance, logits_of
from services.runtime.exchange.samples import Samples, choose
from services.runtime.exchange.source import read_source
from services.runtime.folder import FolderError, inspect_model_folder
from services.runtime.model import load_base, load_tokenizer, prepare
from services.runtime.safetensors import SafetensorsError
from services.runtime.weights import save_weights

log = logging.getLogger("services.runtime.exchange.export")

type Say = Callable[[str], None]

# Behind serving and before training, as whoever asked waits.
NICENESS = 10


def export_mlx(order: Order, folder: Path, work: Path, say: Say) -> dict[str, Any]:
    """Fuse, compare, and describe what came of it; raises AdapterError beyond the tolerance."""
    base = Path(order.base_path)
    inspect_model_folder(base, hash_files=False)
    say(f"fusing into {order.quantize} bits" if order.quantize else "fusing")
    # The same arithmetic everywhere, so the same bytes: a GPU rounds in its own ways.
    with mx.stream(mx.cpu):
        fuse(base, work, folder, order.quantize)
    gc.collect()
    samples = choose(load_tokenizer(base), order.held_out)
    say(f"comparing at {samples.positions} positions of {len(samples.items)} {samples.kind}")
    parity = _compare(base, work, folder, samples)
    say(parity.words())
    if not parity.lost <= order.tolerance:
        raise _refusal(order, parity)
    inspect_model_folder(folder)
    facts = {**parity.as_json(samples), "tolerance": order.tolerance}
    return report_of(order, "mlx", folder, quantize=order.quantize, parity=facts)


def export_peft(order: Order, folder: Path, work: Path, say: Say) -> dict[str, Any]:
    """Write the adapter in PEFT's form; raises AdapterError for what that form can't say."""
    if json.loads((work / CONFIG).read_bytes()).get("fine_tune_type") == FULL:
        raise AdapterError(
            "the version was trained by method full, and PEFT's form holds adapters only; "
            "export it as a whole model",
            "format",
        )
    if order.model_type not in peft.SAME_NAMES:
        raise AdapterError(
            f"what PEFT calls the layers of a {order.model_type} model is not known here; export "
            "it as a whole model",
            "format",
        )
    say("turning the adapter into PEFT's form")
    source, layers = read_source(work), layer_shapes(Path(order.base_path))
    looked_up = [module for module in source.pairs if peft.is_embedding(module)]
    check_lookup(looked_up, layers, dora=source.method == DORA)
    check_fit(source.pairs, source.tensors, layers)
    weights: Any = mx.load(str(work / WEIGHTS))
    turned = {}
    for module, pair in source.pairs.items():
        a, b = peft.pair_names(module)
        turned[a], turned[b] = weights[pair.a].T, weights[pair.b].T
        if pair.m:
            turned[peft.PREFIX + module + peft.M] = weights[pair.m]
    save_weights(folder / peft.WEIGHTS, turned, {"format": "pt", peft.PIN: order.base_digest})
    name = order.base_source.removeprefix("huggingface:")
    on_hub = name != order.base_source
    config = {
        **peft.compose_config(source.pairs, layers, source.method, source.dropout),
        "base_model_name_or_path": name if on_hub else order.base_name,
        "revision": order.base_revision if on_hub else None,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(_readme(order, name if on_hub else ""))
    return report_of(order, "peft", folder)


FORMS = {"mlx": export_mlx, "peft": export_peft}


def _compare(base: Path, adapter: Path, folder: Path, samples: Samples) -> Parity:
    """Compare; one model is in memory at a time."""
    model, _, _ = load_base(base)
    bare = logits_of(model, samples)
    apply_adapter(model, adapter)
    tuned = logits_of(model, samples)
    del model
    gc.collect()
    mx.clear_cache()
    model, _, _ = load_base(folder)
    fused = logits_of(model, samples)
    return Parity(fused=distance(tuned, fused), base=distance(tuned, bare))


def _refusal(order: Order, parity: Parity) -> AdapterError:
    remedy = {4: "pack into 8 bits, or leave it dense", 8: "leave it dense"}
    lost = f"{parity.lost:.3g}" if parity.base.mean_kl > 0 else "all"
    tolerance = f"{order.tolerance:g}"
    return AdapterError(
        f"the fused model would not be version {order.version}: {parity.words()}. Of the effect "
        f"{lost} is lost (0 none, 1 as far off as without the adapter), and the tolerance is "
        f"{tolerance}; {remedy.get(order.quantize, 'the adapter is too weak to fuse')}, or raise "
        "the tolerance",
        "quantize_bits" if order.quantize else "tolerance",
        effect_lost=lost,
        tolerance=tolerance,
    )


def _readme(order: Order, repository: str) -> str:
    head = f"base_model: {repository}\n" if repository else ""
    return (
        f"---\n{head}library_name: peft\npipeline_tag: text-generation\n---\n"
        f"# {order.model}, version {order.version}\n\n"
        f"An adapter in PEFT's form. Base model: {repository or order.base_name}"
        f"{f' at {order.base_revision}' if order.base_revision else ''}.\n\n"
        f"- sha256 of the base model's files in MLX's form: `{order.base_digest}`\n"
        f"- sha256 of the adapter's files it was made from: `{order.adapter_digest}`\n\n"
        "The first also stands in the weights' metadata; `mlx-hub versions import` compares it.\n"
    )


def main(arguments: list[str]) -> int:
    """Run the export; return the exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m services.runtime.exchange.export")
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("order", help="one line of JSON")
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tied", action="store_true", help="end when stdin does")
    options = parser.parse_args(arguments)
    if options.tied:
        os.nice(NICENESS)
        logs.configure("registry-export", "WARNING")
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    order = Order.read(options.order)
    prepare()
    try:
        _say("checking the stored files")
        check_base(order)
        take_adapter(order, (CONFIG, WEIGHTS), options.work)
        report = FORMS[options.form](order, options.folder, options.work, _say)
        write_report(options.folder, report)
    except (AdapterError, FolderError, SafetensorsError, OSError) as error:
        text = " ".join(str(error).split())
        if options.tied:
            log.warning("%s", text)
        else:
            print(text, file=sys.stderr)
        print(json.dumps(_failed(error)))
        return 2
    print(json.dumps(report))
    return 0


def _failed(error: Exception) -> dict[str, Any]:
    """Say what a service can tell on: of other errors only the number, for they name paths."""
    found: dict[str, Any] = {"errno": error.errno if isinstance(error, OSError) else None}
    if isinstance(error, AdapterError):
        text = " ".join(str(error).split())
        found |= {"reason": error.reason, "message": text}
        found |= {"field": error.field, "facts": error.facts}
    return {"failed": found}


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written; a reader with a lock holds up the end
    os._exit(0)


def _say(step: str) -> None:
    print(step, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
