"""Import a base model: `python -m services.runtime.convert SOURCE DEST [--quantize 4|8]`.

SOURCE is a model folder (copied if it is in MLX's form, else converted) or a .gguf file
(converted); DEST must not exist and appears whole or not at all. Prints a line for each step, then
one line of JSON that describes the model; on bad input one line on stderr, exit status 2. A child
process, because it loads MLX.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

from services.chassis.durable import sync_path
from services.runtime.folder import FolderError, ModelFolder, inspect_model_folder, list_files
from services.runtime.gguf import convert_gguf
from services.runtime.gguf_header import GgufError
from services.runtime.huggingface import convert_folder
from services.runtime.model import load_lazily, prepare

type Say = Callable[[str], None]


def import_model(source: Path, dest: Path, bits: int | None, say: Say) -> ModelFolder:
    """Bring the model at `source` into the new folder `dest`, durably; return what was stored.

    Its matrices are packed into `bits` if given. Raises FolderError or GgufError for unusable
    input, OSError for a full or read-only disk.
    """
    if dest.exists():
        raise FolderError(f"{dest.name!r} exists already; remove that model first")
    dest.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        say(f"validating {source.name}")
        _fill(staging, source, bits, say)
        say("checking what was written")
        folder = inspect_model_folder(staging)
        load_lazily(staging)  # does MLX-LM know the architecture, do the weights fit it?
        staging.chmod(0o755)  # mkdtemp made it private
        for path in (*staging.iterdir(), staging):
            sync_path(path)
        staging.rename(dest)
        sync_path(dest.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _fill(staging: Path, source: Path, bits: int | None, say: Say) -> None:
    if source.is_dir():
        found = inspect_model_folder(source, hash_files=False)  # refuse before anything is mapped
        if bits and found.quantization:
            raise FolderError(
                f"{source.name!r} is quantised already ({found.quantization}); import it as it is"
            )
        if bits or not found.is_mlx:
            say(f"quantising to {bits} bits" if bits else "converting to MLX")
            convert_folder(source, staging, bits)
            return
        say("copying")
        for file in list_files(source):
            shutil.copyfile(file, staging / file.name)
    elif source.suffix == ".gguf" and source.is_file():
        if bits:
            raise FolderError("a .gguf file keeps the types it has; quantise a model folder")
        say("converting to MLX")
        convert_gguf(source, staging)
    else:
        raise FolderError(f"{source.name!r} is neither a model folder nor a .gguf file")


def main(arguments: list[str]) -> int:
    """Run the import; return the exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m services.runtime.convert")
    parser.add_argument("source", type=Path, help="a model folder or a .gguf file")
    parser.add_argument("dest", type=Path, help="the folder to make")
    parser.add_argument("--quantize", type=int, choices=(4, 8), help="bits of a packed weight")
    options = parser.parse_args(arguments)
    # Everywhere the same arithmetic, so everywhere the same bytes: a GPU rounds in its own ways.
    mx.set_default_device(mx.cpu)
    prepare()
    try:
        folder = import_model(options.source, options.dest, options.quantize, _say)
    except (FolderError, GgufError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(json.dumps(asdict(folder)))
    return 0


def _say(step: str) -> None:
    print(step, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
