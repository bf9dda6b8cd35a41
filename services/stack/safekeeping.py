"""The verbs `mlx-hub backup` and `mlx-hub restore`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.output import JsonOption, console, emit
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from services.stack.telling import say_aside, told
from services.stack.vault import Meter


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(backup)
    app.command()(restore)


def backup(
    target: Annotated[Path, typer.Argument(metavar="DEST", help="A folder for all backups.")],
    *,
    keep: Annotated[
        int, typer.Option(min=0, help="Forget all but so many of the newest; 0 keeps all.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Back up the database and every stored file it names, also while the hub runs.

    Files are kept by their SHA-256, so that a further backup into the same folder copies only what
    is new. One that was cut short is never taken for a whole one. API keys, signing keys and
    checkpoints of running jobs are not in it.
    """
    # Each verb loads what it alone needs: see services.stack.commands.
    from services.stack.backup import back_up  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    with told(), _bar() as meter:
        name = back_up(read(), target, keep, say_aside, meter)
    if json:
        emit({"name": name})
    else:
        typer.echo(f"Backup {name} is whole.")


def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The folder of the backups.")],
    *,
    name: Annotated[str, typer.Option(help="Which backup; default: the newest.")] = "",
    json: JsonOption = False,
) -> None:
    """Bring a backup into an empty MLX_HUB_HOME; every file is compared with its SHA-256.

    DATABASE_URL, if set, must name an empty database. The hub does not start by itself.
    """
    from services.stack.restore import restore as bring_back  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    settings = read()
    with told(), _bar() as meter:
        manifest = bring_back(settings, source, name, say_aside, meter)
    if json:
        emit({"created_at": manifest.created_at, "files": len(manifest.files)})
    else:
        typer.echo(f"Restored the backup of {manifest.created_at} into {settings.home}.")
        typer.echo("Start it by `mlx-hub up`, and ask `mlx-hub doctor` whether all is well.")


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def expect(self, size: int) -> None:
        self._bar.reset(self._task, total=size)

    def advance(self, size: int) -> None:
        self._bar.advance(self._task, size)


@contextlib.contextmanager
def _bar() -> Iterator[Meter]:
    """Show bytes on stderr, where it is a terminal."""
    ui = console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=ui, transient=True, disable=not ui.is_terminal) as bar:
        yield _Bar(bar)
