"""The `mlx-hub` command: one verb for each thing the hub can do.

Another distribution adds verbs by an entry point of the group `mlx_hub.commands`, a function
`register(app: typer.Typer) -> None`; `app` and the group `models_app` are there to be added to.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.bench import bench
from mlx_hub.cli.cache import cache_app
from mlx_hub.cli.chat import chat
from mlx_hub.cli.datasets import datasets_app
from mlx_hub.cli.doctor import doctor
from mlx_hub.cli.engines import engines, load, unload
from mlx_hub.cli.errors import MEANINGS, HubGroup
from mlx_hub.cli.forecast import forecast
from mlx_hub.cli.generate import generate
from mlx_hub.cli.guide import GuidingGroup
from mlx_hub.cli.jobs import jobs_app
from mlx_hub.cli.models import lineage, models_app
from mlx_hub.cli.quality import quality_app
from mlx_hub.cli.system import metrics, status
from mlx_hub.cli.verify import verify
from mlx_hub.cli.versions import versions_app
from mlx_hub.cli.why import generations, why

__all__ = ["app", "main", "models_app"]

app = typer.Typer(
    cls=HubGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="MLX Model Hub: register, train, serve and trace models.",
    epilog="Exit codes: " + "; ".join(f"{code} {means}" for code, means in MEANINGS.items()) + ".",
)
for name, group in {
    "models": models_app,
    "versions": versions_app,
    "quality": quality_app,
    "datasets": datasets_app,
    "jobs": jobs_app,
    "cache": cache_app,
}.items():
    app.add_typer(group, name=name, cls=GuidingGroup)
jobs_app.command()(forecast)
app.command()(generate)
app.command()(chat)
app.command()(bench)
app.command()(why)
app.command()(generations)
app.command()(engines)
app.command()(load)
app.command()(unload)
app.command()(lineage)
app.command()(verify)
app.command()(status)
app.command()(doctor)
app.command()(metrics)


@app.callback()
def options(
    address: Annotated[
        str | None,
        typer.Option(
            envvar="MLX_HUB_ADDRESS",
            help="host:port of the hub, with https:// before it for TLS; "
            "default: the running local one, else 127.0.0.1:8080.",
        ),
    ] = None,
    caller: Annotated[
        str | None,
        typer.Option(
            envvar="MLX_HUB_CALLER",
            help="Your name to the hub: engines serve callers evenly, however much each asks.",
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="MLX_HUB_API_KEY",
            help="Key of a hub that wants one; the variable keeps it out of the shell's history.",
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="PEM file of the authorities to trust; asks for TLS. "
            "MLX_HUB_CA_FILE names it for addresses that begin with https://.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let the key cross a network without TLS.")
    ] = False,
) -> None:
    """Take the options of every verb; session.hub reads them."""


def whole() -> typer.Typer:
    """The command with the verbs of every installed distribution."""
    for command in entry_points(group="mlx_hub.commands"):
        try:
            command.load()(app)
        except ImportError as error:
            typer.echo(f"warning: no {command.name} commands: {error}", err=True)
    return app


def main() -> None:
    """Run it."""
    whole()()
