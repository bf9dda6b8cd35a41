"""Loading a base model in a child process, ready to compute, on whatever MLX computes on here."""

import gc
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from services.runtime.blas import BlasReport, redirect
from services.runtime.folder import FolderError, inspect_model_folder
from services.runtime.quick_transformers import quicken

LOADING_PIECES = 50
# What MLX-LM's model classes raise on a configuration or weights that they don't expect.
_UNBUILDABLE = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError,
    AssertionError,
)  # fmt: skip


def prepare() -> BlasReport:
    """Set this process up for MLX; call it in each child before anything else imports MLX.

    The hub is never reached, the limit on open files survives `import mlx_lm`, and on a CPU the
    matrix product is redirected and run-time compilation is off unless MLX_HUB_COMPILE=1: there it
    calls g++ and writes libraries into the shared temporary folder, to gain less than a tenth.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    quicken()
    with _environment(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1"), _uncollected():
        import_module("mlx_lm.utils")  # sets RLIMIT_NOFILE to 2048 of 4096, reads HF_HUB_OFFLINE
    _restore_open_files(limits)
    if on_cpu() and os.environ.get("MLX_HUB_COMPILE") != "1":
        mx.disable_compile()
    return redirect()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables that an import reads, and leave nothing of them to this process's children."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from walking all that an import makes while it is made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def on_cpu() -> bool:
    """Tell whether MLX computes on the CPU here, where only dense float32 weights are fast."""
    return bool(mx.default_device() == mx.Device(mx.cpu))


def expect_sums() -> None:
    """Raise RuntimeError where nothing can be computed any more, as after a fault of a GPU."""
    mx.eval(mx.ones(1) + 1)


def load_base(
    path: Path, told: Callable[[float], None] = lambda share: None, tuned: Path | None = None
) -> tuple[Any, Any, dict[str, Any]]:
    """Load the model folder at `path`; return (model, tokenizer wrapper, config.json as stored).

    `tuned` is the folder of a fully fine-tuned version, whose weights take the place of the
    model's own, in their types; these are not read then. The weights are evaluated: as stored on a
    GPU, as dense float32 on a CPU (4 bytes a parameter). `told` hears which share of their bytes is
    there. Load on the thread that will compute. Raises FolderError for a folder that is missing or
    unfit.
    """
    inspect_model_folder(path, hash_files=False)
    prepare()
    from mlx_lm.utils import dequantize_model  # noqa: PLC0415  after prepare

    model, config = load_lazily(path)
    if on_cpu():
        model.set_dtype(mx.float32)
        model = dequantize_model(model)
        model.set_dtype(mx.float32)  # formats without float scales dequantise to 16 bits
    if tuned:
        _replace_weights(model, tuned)
    _evaluate(model, told)
    return model, load_tokenizer(path, config.get("eos_token_id")), config


def _replace_weights(model: Any, tuned: Path) -> None:
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415  after prepare

    types = {name: value.dtype for name, value in _parameters(model).items()}
    try:
        load_adapters(model, str(tuned))
    except (OSError, *_UNBUILDABLE) as error:
        reason = " ".join(str(error).split()).replace(str(tuned), tuned.name)[:300]
        raise FolderError(f"the version does not fit its base model: {reason}") from error
    found = _parameters(model)
    model.update(tree_unflatten([(n, found[n].astype(dtype)) for n, dtype in types.items()]))


def weight_bytes(model: Any) -> int:
    """Give the bytes of a loaded model's weights."""
    return sum(array.nbytes for array in _parameters(model).values())


def _parameters(model: Any) -> dict[str, mx.array]:
    return dict(tree_flatten(model.parameters()))


def _evaluate(model: Any, told: Callable[[float], None]) -> None:
    """Read the weights, piece by piece: what one piece needs beside itself is free for the next."""
    arrays = list(_parameters(model).values())
    total = sum(array.nbytes for array in arrays)
    done, piece = 0, list[mx.array]()
    for array in arrays:
        piece.append(array)
        if (size := sum(a.nbytes for a in piece)) * LOADING_PIECES >= total:
            mx.eval(piece)
            done, piece = done + size, []
            told(done / total)
    mx.eval(piece)


def load_tokenizer(path: Path, eos_token_ids: Any = None) -> Any:
    """Load the tokenizer of a model folder with its chat template, as training and serving do."""
    from mlx_lm.utils import load_tokenizer as load  # noqa: PLC0415  after prepare

    return load(path, eos_token_ids=eos_token_ids)  # type: ignore[no-untyped-call]


def load_lazily(path: Path) -> tuple[Any, dict[str, Any]]:
    """Build the model of an inspected folder and bind its weights without reading them.

    That is enough to learn whether MLX-LM knows the architecture and whether names and shapes fit;
    raises FolderError if not.
    """
    from mlx_lm.utils import load_model  # noqa: PLC0415  after prepare

    try:
        model, config = load_model(path, lazy=True)
    except _UNBUILDABLE as error:
        reason = " ".join(str(error).split()).replace(str(path), path.name)[:300]
        raise FolderError(f"MLX-LM cannot build this model: {reason}") from error
    return model, config


def _restore_open_files(limits: tuple[int, int]) -> None:
    """Put the limit back, or as near as may be: lowering the hard limit cannot always be undone."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    except (ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
