"""The verbs that the stack adds to the `mlx-hub` command."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.models import models_app

from services.chassis.settings import load
from services.stack import keys, launch, models, starter
from services.stack.demo import demo as run_demo
from services.stack.errors import StackError
from services.stack.settings import StackSettings, environment_name
from services.stack.signals import stops_on_signals
from services.stack.stack import Stack


def register(app: typer.Typer) -> None:
    """Add the verbs; called through the entry point group `mlx_hub.commands`."""
    for verb in (up, down, config, demo, keygen):
        app.command()(verb)
    models_app.command("import")(import_)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Return as soon as everything serves.")
    ] = False,
) -> None:
    """Start the hub: Postgres, the three services and the gateway."""
    settings = load(StackSettings)
    with _told():
        if detach:
            port = launch.start_detached(settings, _say)
            typer.echo(f"The hub serves at http://{settings.host}:{port}; `mlx-hub down` stops it.")
            return
        stack = Stack(settings, _say)
        with stops_on_signals(stack):
            stack.run(
                lambda port: typer.echo(
                    f"The hub serves at http://{settings.host}:{port}; Ctrl-C stops it."
                )
            )


def down() -> None:
    """Stop the hub that runs on this home."""
    settings = load(StackSettings)
    with _told():
        stopped = launch.stop(settings)
    typer.echo("The hub is stopped." if stopped else f"No hub runs on {settings.home}.")


def config() -> None:
    """Print every setting by the name of its variable, secrets masked."""
    settings = load(StackSettings)
    for field, value in settings.masked().items():
        shown = ",".join(settings.allowed_origins) if field == "allowed_origins" else value
        typer.echo(f"{environment_name(field)}={shown}")


def demo() -> None:
    """Run the main job on the starter model: import, train, compare, trace; then stop."""
    settings = load(StackSettings)
    with _told():
        run_demo(settings)


def keygen(
    path: Annotated[Path, typer.Argument(help="A new file for the private key.")],
) -> None:
    """Make a key that signs versions' statements, and print its public half."""
    with _told():
        public, identity = keys.generate(path)
    typer.echo(f"{public}key id {identity}")
    typer.echo(f"Set MLX_HUB_SIGNING_KEY={path.absolute()} and start the hub again.", err=True)


def import_(
    path: Annotated[
        Path | None, typer.Argument(help="An MLX model folder, or a .gguf file.")
    ] = None,
    *,
    starter_model: Annotated[
        bool, typer.Option("--starter", help="The small model that comes with the hub.")
    ] = False,
    name: Annotated[str, typer.Option(help="Default: made from the path.")] = "",
) -> None:
    """Import a base model from this machine's disk."""
    if (path is None) != starter_model:
        raise typer.BadParameter("give either a PATH or --starter")
    settings = load(StackSettings)
    with _told():
        source = path or starter.starter_gguf()
        chosen = name or (starter.NAME if path is None else models.name_of(path))
        models.import_model(settings, source, chosen, _say)
    typer.echo(f"Imported the base model {chosen}.")


def _say(step: str) -> None:
    typer.echo(f"  {step}")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what went wrong into words on stderr and exit code 1."""
    try:
        yield
    except (StackError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
