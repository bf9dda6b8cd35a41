"""`mlx-hub versions export`: a version taken out of the hub, as a folder that stands alone."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from services.runtime.exchange import wanted
from services.runtime.exchange.wanted import Wish, order_of
from services.stack.errors import StackError
from services.stack.importing import Say, run_child
from services.stack.registry import running_registry
from services.stack.settings import StackSettings


def export_version(
    settings: StackSettings, model: str, version: str, target: Path, wish: Wish, say: Say
) -> dict[str, Any]:
    """Write a version into a new or empty folder, which holds all of it or stays as it was.

    Gives the report that lies in it as export.json.
    """
    place = target.absolute()
    _check_target(place)
    with running_registry(settings) as registry:
        resolved = registry.resolve(model, version)
        if not resolved.HasField("version"):
            raise StackError(f"{model} has no version yet, and its base model is no version.")
        order = order_of(resolved, wish, registry.locate)
    _check_room(place.parent, wanted.disk_bytes(resolved, wish))
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise StackError(f"{place.parent} can't be written to: {error.strerror}.") from error
    try:
        folder, work = staging / "folder", staging / "work"
        folder.mkdir()
        words = ["services.runtime.exchange.export", wish.form, order.write()]
        report = run_child([*words, str(folder), str(work)], {**os.environ}, say, "export")
        try:
            wanted.put(folder, place)
        except OSError as error:
            raise StackError(f"{place} can't be made: {error.strerror}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _check_target(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        if any(place.iterdir()):
            raise StackError(f"{place} is not empty; name a new folder.")
    elif os.path.lexists(place):
        raise StackError(f"{place} exists and is not a folder; name a new one.")
    elif not place.parent.is_dir():
        raise StackError(f"{place.parent} does not exist; make it, or name another folder.")


def _check_room(parent: Path, needed: int) -> None:
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise StackError(
            f"The export may take {needed / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free on "
            f"the volume of {parent}; free some, or name a folder on another volume."
        )
