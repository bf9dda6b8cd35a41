"""`mlx-hub models import`: the operator brings a base model in; no request can."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from services.stack.errors import StackError
from services.stack.home import Home
from services.stack.importing import bring_in
from services.stack.settings import StackSettings
from services.stack.stack import Say, Stack

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def import_model(settings: StackSettings, source: Path, name: str, say: Say) -> None:
    """Convert a model folder or GGUF file and record it; done before, it changes nothing."""
    if not _NAME.fullmatch(name):
        raise StackError(
            f"{name!r} can't be a model's name: use up to 100 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit (`--name`)."
        )
    if not source.exists():
        raise StackError(f"{source} does not exist; give an MLX model folder or a .gguf file.")
    with _database(settings, say) as database:
        bring_in(settings, source, name, database, say)


def name_of(source: Path) -> str:
    """Make a name for a model out of its path."""
    return re.sub(r"[^a-z0-9._-]+", "-", source.absolute().stem.lower()).lstrip("._-")[:100]


@contextlib.contextmanager
def _database(settings: StackSettings, say: Say) -> Iterator[str]:
    """Give the running stack's database, or start one for the time of the import."""
    if running := Home(settings.home).ports():
        yield str(running["database_url"])
        return
    with Stack(settings, say).database() as database:
        yield database
