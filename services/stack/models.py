"""`mlx-hub models import`: the operator brings a base model in; no request can."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from services.chassis.names import NAME
from services.stack.errors import StackError
from services.stack.home import Home
from services.stack.importing import Source, bring_in, fetch
from services.stack.settings import StackSettings
from services.stack.stack import Say, Stack

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def import_model(
    settings: StackSettings, source: Source, name: str, say: Say, bits: int | None = None
) -> None:
    """Convert a model folder or GGUF file and record it; done before, it changes nothing."""
    _check_name(name)
    if not source.path.exists():
        raise StackError(f"{source.path} does not exist; give a model folder or a .gguf file.")
    with _database(settings, say) as database:
        bring_in(settings, source, name, database, say, bits)


def import_from_hub(
    settings: StackSettings,
    repository: str,
    revision: str,
    name: str,
    say: Say,
    bits: int | None = None,
) -> None:
    """Fetch a repository's model from the Hugging Face hub and import it."""
    _check_name(name)
    if not _REPOSITORY.fullmatch(repository):
        raise StackError(f"{repository!r} names no repository; give ORG/NAME.")
    source = fetch(settings, repository, revision, say)
    try:
        import_model(settings, source, name, say, bits)
    except StackError as error:
        raise StackError(f"{error}\nWhat was fetched stays in {source.path}.") from error
    shutil.rmtree(source.path)


def name_of(source: Path) -> str:
    """Make a name for a model out of its path."""
    last = source.absolute().name.lower().removesuffix(".gguf")
    return re.sub(r"[^a-z0-9._-]+", "-", last).lstrip("._-")[:100]


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise StackError(
            f"{name!r} can't be a model's name: use up to 100 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit (`--name`)."
        )


@contextlib.contextmanager
def _database(settings: StackSettings, say: Say) -> Iterator[str]:
    """Give the running stack's database, or start one for the time of the import."""
    if running := Home(settings.home).ports():
        yield str(running["database_url"])
        return
    with Stack(settings, say).database() as database:
        yield database
