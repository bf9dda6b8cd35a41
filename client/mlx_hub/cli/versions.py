"""`mlx-hub versions …`."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.downloading import downloading
from mlx_hub.cli.output import (
    JsonOption,
    console,
    emit,
    plain,
    printable,
    short,
    show_done,
    show_one,
    size,
)
from mlx_hub.cli.samples import print_samples
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.client import Hub
from mlx_hub.registry.v1.download_service_pb2 import VersionFiles
from mlx_hub.registry.v1.export_pb2 import VersionExport

versions_app = typer.Typer(no_args_is_help=True, help="What a model's versions are used for.")


class Form(StrEnum):
    """What the hub can make of a version."""

    FUSED = "fused"
    PEFT = "peft"


class Bits(StrEnum):
    """What weights can be packed into."""

    FOUR = "4"
    EIGHT = "8"


VersionArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=model_names, metavar="MODEL:VERSION", help="Version by number or alias."
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(autocompletion=model_names, metavar="MODEL", help="Name or id of a model.")
]
FormOption = Annotated[
    Form | None, typer.Option("--as", help="Not as stored: a whole MLX model, or PEFT's form.")
]
BitsOption = Annotated[
    Bits | None, typer.Option(help="With --as fused: pack weights into so many bits each.")
]
AliasOption = Annotated[str, typer.Option(help="The alias to move.")]


def _split(here: Hub, reference: str) -> tuple[int, str]:
    model, version = split_version(reference)
    if not version:
        raise typer.BadParameter("say which version: MODEL:NUMBER or MODEL@ALIAS")
    return find_model(here, model).id, version


@versions_app.command()
def promote(
    ctx: typer.Context,
    version: VersionArgument,
    alias: AliasOption = "champion",
    json: JsonOption = False,
) -> None:
    """Point an alias at a ready version."""
    here = hub(ctx)
    show_one(here.models.promote(*_split(here, version), alias), json)


@versions_app.command()
def rollback(
    ctx: typer.Context,
    model: ModelArgument,
    alias: AliasOption = "champion",
    json: JsonOption = False,
) -> None:
    """Point an alias back to where it was before its last promotion."""
    here = hub(ctx)
    show_one(here.models.roll_back(find_model(here, model).id, alias), json)


@versions_app.command()
def unalias(
    ctx: typer.Context,
    model: ModelArgument,
    alias: Annotated[str, typer.Argument(help="The alias to remove.")],
    json: JsonOption = False,
) -> None:
    """Remove an alias."""
    here = hub(ctx)
    here.models.delete_alias(find_model(here, model).id, alias)
    show_done(f"deleted alias {alias} of {model}", json)


@versions_app.command()
def archive(ctx: typer.Context, version: VersionArgument, json: JsonOption = False) -> None:
    """Take a ready version out of service, its files to the cold tier."""
    here = hub(ctx)
    show_one(here.models.archive(*_split(here, version)), json)


@versions_app.command()
def restore(ctx: typer.Context, version: VersionArgument, json: JsonOption = False) -> None:
    """Bring an archived version's files back and put it into service."""
    here = hub(ctx)
    show_one(here.models.restore(*_split(here, version)), json)


@versions_app.command()
def download(
    ctx: typer.Context,
    version: VersionArgument,
    to: Annotated[
        Path, typer.Option("--to", file_okay=False, help="The folder; made if it is missing.")
    ],
    *,
    form: FormOption = None,
    quantize: BitsOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a version's files into a folder, each proven by its sha256.

    With --as the hub exports the version first, and compares a fused model with base model and
    adapter; on the hub's own machine `export` writes the same folder without a copy.
    """
    if quantize and form is not Form.FUSED:
        raise typer.BadParameter("--quantize goes with --as fused")
    here = hub(ctx)
    model, number = _split(here, version)
    found: VersionFiles | VersionExport
    with downloading() as told:
        if form:
            bits = int(quantize or 0)
            wanted = partial(here.models.export, format=form.value, quantize_bits=bits)
            found = wanted(model, number, to, on_step=_say, on_progress=told)
        else:
            found = here.models.download(model, number, to, on_progress=told)
    if json:
        emit(plain(found))
        return
    for file in found.files:
        typer.echo(printable(f"{short(file.sha256)}  {size(file.size_bytes):>8}  {to / file.name}"))


def _say(step: str) -> None:
    typer.echo(f"  {printable(step)}", err=True)


@versions_app.command()
def samples(ctx: typer.Context, version: VersionArgument, json: JsonOption = False) -> None:
    """Show what the base model and a version answered to the same prompts."""
    here = hub(ctx)
    found = here.quality.samples(*_split(here, version))
    if json:
        emit(plain(found))
    elif found.samples:
        print_samples(found.samples, console())
    else:
        typer.echo("its job was asked for no samples")
