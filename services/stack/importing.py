"""Brings a base model into the store: fetched, converted and recorded by a child each."""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.stack.errors import StackError
from services.stack.plan import python
from services.stack.settings import StackSettings

type Say = Callable[[str], None]

_HUB_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_XET": "1",  # it keeps gigabytes of its own elsewhere
}


@dataclass(frozen=True)
class Source:
    """What is imported, and what is written down about where it came from."""

    path: Path
    origin: str
    revision: str = ""


def on_disk(path: Path) -> Source:
    """Describe a file or folder of this machine."""
    return Source(path, "gguf" if path.suffix == ".gguf" else "folder")


def fetch(settings: StackSettings, repository: str, revision: str, say: Say) -> Source:
    """Fetch a model from the Hugging Face hub, into a folder that stays until it is imported."""
    root = settings.storage_active_path / "downloads"
    words = ["services.stack.hub", "--", repository, revision, str(root)]
    found = run_child(words, {**os.environ, **_HUB_ENVIRONMENT}, say)
    return Source(Path(found["folder"]), f"huggingface:{repository}", found["commit"])


def bring_in(
    settings: StackSettings,
    source: Source,
    name: str,
    database: str,
    say: Say,
    bits: int | None = None,
) -> None:
    """Convert a model folder or GGUF file and record it; done before, it changes nothing."""
    env = {**os.environ, "MLX_HUB_HOME": str(settings.home), "DATABASE_URL": database}
    staged = settings.storage_active_path / "imports" / uuid.uuid4().hex
    packing = [f"--quantize={bits}"] if bits else []
    origin = [f"--source={source.origin}", f"--revision={source.revision}"]
    try:
        words = ["services.runtime.convert", str(source.path.absolute()), str(staged), *packing]
        run_child(words, env, say)
        say(f"recording {name}")
        run_child(["services.registry.importer", str(staged), name, *origin], env, say)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def has_base_model(settings: StackSettings) -> bool:
    """Tell whether any base model was ever imported into this home."""
    return any((settings.storage_archive_path / "base").glob("[!.]*"))


def run_child(
    words: list[str], env: dict[str, str], say: Say, what: str = "import"
) -> dict[str, Any]:
    """Run a child that tells its steps line by line; give what its last line, of JSON, says."""
    lines = ["{}"]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            python(*words), env=env, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as child,
    ):
        try:
            for line in child.stdout or ():
                if not line.startswith("{"):
                    say(line.strip())
                lines.append(line)
        except BaseException:
            child.kill()
            raise
        if child.wait():
            complaints.seek(0)
            reason = complaints.read().strip() or lines[-1].strip()
            raise StackError(f"The {what} failed: {reason}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found
