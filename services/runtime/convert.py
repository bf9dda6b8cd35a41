"""Import a base model: `python -m services.runtime.convert SOURCE DEST`.

SOURCE is an MLX model folder (copied) or a .gguf file (converted); DEST must not exist and appears
whole or not at all. Prints one JSON line that describes the model; on bad input one line on stderr,
exit status 2. A child process, because it loads MLX.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from services.chassis.durable import sync_path
from services.runtime.folder import FolderError, ModelFolder, inspect_model_folder, list_files
from services.runtime.gguf import convert_gguf
from services.runtime.gguf_header import GgufError
from services.runtime.model import load_lazily, prepare


def import_model(source: Path, dest: Path) -> ModelFolder:
    """Bring the model at `source` into the new folder `dest`, durably; return what was stored.

    Raises FolderError or GgufError for unusable input, OSError for a full or read-only disk.
    """
    if dest.exists():
        raise FolderError(f"{dest.name!r} exists already; remove that model first")
    dest.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        _fill(staging, source)
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


def _fill(staging: Path, source: Path) -> None:
    if source.is_dir():
        inspect_model_folder(source, hash_files=False)  # refuse before copying gigabytes
        for file in list_files(source):
            shutil.copyfile(file, staging / file.name)
    elif source.suffix == ".gguf" and source.is_file():
        convert_gguf(source, staging)
    else:
        raise FolderError(f"{source.name!r} is neither an MLX model folder nor a .gguf file")


def main(arguments: list[str]) -> int:
    """Run the import; return the exit status: 0, or 2 with one line on stderr."""
    if len(arguments) != 2:
        print("usage: python -m services.runtime.convert SOURCE DEST", file=sys.stderr)
        return 2
    prepare()
    try:
        folder = import_model(*map(Path, arguments))
    except (FolderError, GgufError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(json.dumps(asdict(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
