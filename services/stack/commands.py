"""The verbs that the stack adds to the `mlx-hub` command.

Every call of the command loads this module, so each verb loads by itself what it alone needs:
settings, database driver and signing take longer to load than most verbs take.
"""

from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.models import models_app
from mlx_hub.cli.output import JsonOption, emit
from mlx_hub.cli.versions import Bits

from services.stack import safekeeping, versions
from services.stack.telling import say, say_aside, told


def register(app: typer.Typer) -> None:
    """Add the verbs; called through the entry point group `mlx_hub.commands`."""
    for verb in (up, down, config, demo, keygen):
        app.command()(verb)
    models_app.command("import")(import_)
    versions.register()
    safekeeping.register(app)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Return as soon as everything serves.")
    ] = False,
    observability: Annotated[
        bool,
        typer.Option("--observability", help="With Prometheus; as MLX_HUB_OBSERVABILITY=true."),
    ] = False,
) -> None:
    """Start the hub: Postgres, the three services and the gateway."""
    from services.stack import launch  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415
    from services.stack.signals import stops_on_signals  # noqa: PLC0415
    from services.stack.stack import Stack  # noqa: PLC0415

    settings = read()
    if observability:
        settings = settings.model_copy(update={"observability": True})
    with told():
        if detach:
            port = launch.start_detached(settings, say)
            typer.echo(
                f"The hub serves at http://{settings.nearest}:{port}; `mlx-hub down` stops it."
            )
            return
        stack = Stack(settings, say)
        with stops_on_signals(stack):
            stack.run(
                lambda port: typer.echo(
                    f"The hub serves at http://{settings.nearest}:{port}; Ctrl-C stops it."
                )
            )


def down() -> None:
    """Stop the hub that runs on this home."""
    from services.stack import launch  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    settings = read()
    with told():
        stopped = launch.stop(settings)
    typer.echo("The hub is stopped." if stopped else f"No hub runs on {settings.home}.")


def config(json: JsonOption = False) -> None:
    """Print every setting of the stack and the services by its variable, secrets masked."""
    from services.stack.configured import every_setting  # noqa: PLC0415

    found, sound = every_setting()
    if json:
        emit(found)
    else:
        for variable, value in found.items():
            typer.echo(f"{variable}={value}")
    if not sound:
        raise typer.Exit(2)


def demo() -> None:
    """Run the main job on the starter model: import, train, compare, trace; then stop."""
    from services.stack.demo import demo as run_demo  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    settings = read()
    with told():
        run_demo(settings)


PathArgument = Annotated[
    Path | None,
    typer.Argument(help="A model folder in MLX or Hugging Face form, or a .gguf file."),
]
StarterOption = Annotated[
    bool, typer.Option("--starter", help="The small model that comes with the hub.")
]
HubOption = Annotated[
    str, typer.Option(metavar="ORG/NAME", help="Download from the Hugging Face hub.")
]
RevisionOption = Annotated[
    str, typer.Option(help="With --from-hub: a branch, tag or commit. Default: the newest.")
]
QuantizeOption = Annotated[
    Bits | None, typer.Option(help="Pack a dense model's weights into so many bits each.")
]
NameOption = Annotated[str, typer.Option(help="Default: made from the path or repository.")]


def keygen(
    path: Annotated[Path, typer.Argument(help="A new file for the private key.")],
) -> None:
    """Make a key that signs versions' statements, and print its public half."""
    from services.stack import keys  # noqa: PLC0415

    with told():
        public, identity = keys.generate(path)
    typer.echo(f"{public}key id {identity}")
    typer.echo(f"Set MLX_HUB_SIGNING_KEY={path.absolute()} and start the hub again.", err=True)


def import_(
    path: PathArgument = None,
    *,
    starter_model: StarterOption = False,
    from_hub: HubOption = "",
    revision: RevisionOption = "",
    quantize: QuantizeOption = None,
    name: NameOption = "",
    json: JsonOption = False,
) -> None:
    """Import a base model from this machine's disk, or with --from-hub from the Hugging Face hub.

    A folder in MLX form is copied byte for byte, others are converted; --quantize packs either.
    Only safetensors and text files are read: a folder with code, pickles or archives is refused,
    and so is a configuration that asks to run code. Gated repositories need HF_TOKEN.
    """
    if [path is not None, starter_model, bool(from_hub)].count(True) != 1:
        raise typer.BadParameter("give one of PATH, --starter and --from-hub")
    if revision and not from_hub:
        raise typer.BadParameter("--revision goes with --from-hub")
    from services.stack import importing, models, starter  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    settings = read()
    bits = int(quantize) if quantize else None
    speak = say_aside if json else say
    with told():
        if from_hub:
            chosen = name or models.name_of(Path(from_hub))
            models.import_from_hub(settings, from_hub, revision, chosen, speak, bits)
        else:
            chosen = name or (models.name_of(path) if path else starter.NAME)
            source = importing.on_disk(path) if path else starter.source()
            models.import_model(settings, source, chosen, speak, bits)
    if json:
        emit({"name": chosen})
    else:
        typer.echo(f"Imported the base model {chosen}.")
