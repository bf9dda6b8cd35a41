"""The `mlx-hub` command: one verb for each thing the hub can do.

Another distribution adds verbs by an entry point of the group `mlx_hub.commands`, a function
`register(app: typer.Typer) -> None`; `app` and the group `models_app` are there to be added to.
"""

from importlib.metadata import entry_points
from typing import Annotated

import typer
from mlx_hub.cli.cache import cache_app
from mlx_hub.cli.chat import chat
from mlx_hub.cli.datasets import datasets_app
from mlx_hub.cli.doctor import doctor
from mlx_hub.cli.engines import engines, load, unload
from mlx_hub.cli.errors import HubGroup
from mlx_hub.cli.forecast import forecast
from mlx_hub.cli.generate import generate
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
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="MLX Model Hub: register, train, serve and trace models.",
)
app.add_typer(models_app, name="models")
app.add_typer(versions_app, name="versions")
app.add_typer(quality_app, name="quality")
app.add_typer(datasets_app, name="datasets")
app.add_typer(jobs_app, name="jobs")
app.add_typer(cache_app, name="cache")
jobs_app.command()(forecast)
app.command()(generate)
app.command()(chat)
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
            help="host:port of the hub; default: the running local one, else 127.0.0.1:8080.",
        ),
    ] = None,
    caller: Annotated[
        str | None,
        typer.Option(
            envvar="MLX_HUB_CALLER",
            help="Your name to the hub: engines serve callers evenly, however much each asks.",
        ),
    ] = None,
) -> None:
    """Take the options of every verb; session.hub reads them."""


def main() -> None:
    """Run the command with the verbs of every installed distribution."""
    for command in entry_points(group="mlx_hub.commands"):
        try:
            command.load()(app)
        except ImportError as error:
            typer.echo(f"warning: no {command.name} commands: {error}", err=True)
    app()
