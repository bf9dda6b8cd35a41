"""`python -m services.registry.importer FOLDER NAME`: the operator imports a base model.

No request can do this: what is loaded into memory as a model is the operator's choice.
"""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from services.chassis import database
from services.chassis.durable import sync_path
from services.chassis.errors import HubError, Invalid
from services.chassis.settings import load
from services.chassis.tables import NAME_PATTERN
from services.registry import files, intact
from services.registry.artifacts import Artifacts
from services.registry.domain import BaseModel, Origin, StoredFile
from services.registry.files import checksum_of
from services.registry.settings import RegistrySettings
from services.registry.store.base_models import BaseModelStore
from services.registry.store.session import sessions
from services.runtime.folder import FolderError, ModelFolder, inspect_model_folder, list_files

FOLDER = Origin("folder")


async def import_base_model(
    source: Path, name: str, origin: Origin, bases: BaseModelStore, artifacts: Artifacts
) -> BaseModel:
    """Copy a model folder into the archive and register it; the same again gives the same."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise Invalid(
            "INVALID_FIELD",
            "a name is 1 to 100 of a-z, 0-9, '.', '_' and '-' and starts with a letter or digit",
            field="name",
        )
    folder = inspect_model_folder(source)
    if not folder.is_mlx:
        raise FolderError(f"{source.name!r} is not in MLX's form; use `mlx-hub models import`")
    known = await bases.named(name, folder.digest)
    if known and intact.damaged(artifacts.archive / known.artifact_path, known.files) is None:
        return known
    path, stored = _copy(source, folder, artifacts)
    return known or await bases.add(name, folder, path, stored, origin)


def _copy(source: Path, folder: ModelFolder, artifacts: Artifacts) -> tuple[str, list[StoredFile]]:
    """Put the folder under its digest; a damaged one there is replaced."""
    artifacts.prepare()
    with artifacts.fresh_folder("base") as fresh:
        for file in list_files(source):
            with file.open("rb") as content:
                files.write_synced(fresh / file.name, files.chunks_of(content.fileno()))
        sync_path(fresh)
        stored = [files.hash_file(file) for file in list_files(fresh)]
        if checksum_of(stored) != folder.digest:
            raise FolderError("the folder changed while it was copied; import it again")
        return artifacts.place(fresh, "base", folder.digest, stored), stored


async def run(
    settings: RegistrySettings, source: Path, name: str, origin: Origin = FOLDER
) -> BaseModel:
    """Import with the settings' database and archive."""
    engine = database.create_engine(settings.database_url, "mlx_hub_registry")
    artifacts = Artifacts(settings.storage_active_path, settings.storage_archive_path)
    try:
        bases = BaseModelStore(sessions(engine))
        return await import_base_model(source, name, origin, bases, artifacts)
    finally:
        await engine.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the base model as one line of JSON; on failure say why and give 1."""
    parser = argparse.ArgumentParser(prog="python -m services.registry.importer")
    parser.add_argument("folder", type=Path, help="an MLX model folder")
    parser.add_argument("name", help="what models will refer to it by")
    parser.add_argument("--source", default=FOLDER.source, help="where the model came from")
    parser.add_argument("--revision", default="", help="its release or commit there")
    options = parser.parse_args(arguments)
    settings = load(RegistrySettings)
    origin = Origin(options.source, options.revision)
    try:
        base = asyncio.run(run(settings, options.folder, options.name, origin))
    except (HubError, FolderError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        known = database.translate(error)
        if known is None:
            raise
        print(known, file=sys.stderr)
        return 1
    shown = ("id", "name", "digest", "model_type", "size_bytes", "context_length", "artifact_path")
    print(json.dumps({key: getattr(base, key) for key in shown}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
