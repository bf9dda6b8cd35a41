"""Brings a base model into the store: converted by one child, recorded by another."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from services.stack.errors import StackError
from services.stack.plan import python
from services.stack.settings import StackSettings

type Say = Callable[[str], None]


def bring_in(settings: StackSettings, source: Path, name: str, database: str, say: Say) -> None:
    """Convert a model folder or GGUF file and record it; done before, it changes nothing."""
    env = {**os.environ, "MLX_HUB_HOME": str(settings.home), "DATABASE_URL": database}
    staged = settings.storage_active_path / "imports" / uuid.uuid4().hex
    try:
        say(f"converting {source.name}")
        _child(["services.runtime.convert", str(source.absolute()), str(staged)], env)
        say(f"recording {name}")
        _child(["services.registry.importer", str(staged), name], env)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def has_base_model(settings: StackSettings) -> bool:
    """Tell whether any base model was ever imported into this home."""
    return any((settings.storage_archive_path / "base").glob("[!.]*"))


def _child(words: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(python(*words), env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"The import failed: {done.stderr.strip() or done.stdout.strip()}")
