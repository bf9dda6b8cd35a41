"""The verbs that the stack adds to `mlx-hub versions`."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.output import JsonOption, emit, printable, show_one
from mlx_hub.cli.session import split_version
from mlx_hub.cli.versions import Bits, versions_app

from services.runtime.exchange import TOLERANCE
from services.stack.telling import say, say_aside, told


class Form(StrEnum):
    """What a version can be exported as."""

    MLX = "mlx"
    PEFT = "peft"


def register() -> None:
    """Add the verbs."""
    versions_app.command("export")(export)
    versions_app.command("import")(import_)


VersionArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=model_names, metavar="MODEL:VERSION", help="By number or alias; else latest."
    ),
]
TargetArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")]
FormOption = Annotated[
    Form, typer.Option("--format", help="A whole MLX model, or an adapter in PEFT's form.")
]
QuantizeOption = Annotated[
    Bits | None, typer.Option(help="With mlx: pack weights into so many bits each.")
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="With mlx: how much of the adapter's effect may be lost, 0 none, 1 as far off as "
        f"without it. Default {TOLERANCE:g}.",
    ),
]


def export(
    version: VersionArgument,
    folder: TargetArgument,
    *,
    form: FormOption = Form.MLX,
    quantize: QuantizeOption = None,
    tolerance: ToleranceOption = None,
    json: JsonOption = False,
) -> None:
    """Export a version as a folder that needs no hub.

    With mlx, adapter and base model are fused, and the result is compared with both before the
    folder appears; export.json in it holds the numbers. Without --quantize it is dense.
    """
    # Each verb loads what it alone needs: see services.stack.commands.
    from services.runtime.exchange.wanted import Wish  # noqa: PLC0415
    from services.stack.exporting import export_version  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    if form is Form.PEFT and (quantize or tolerance is not None):
        raise typer.BadParameter("--quantize and --tolerance go with --format mlx")
    if tolerance is not None and not math.isfinite(tolerance):
        raise typer.BadParameter("--tolerance must be finite")
    model, number = split_version(version)
    wish = Wish(
        form=form.value,
        quantize=int(quantize) if quantize else 0,
        tolerance=TOLERANCE if tolerance is None else tolerance,
    )
    with told():
        speak = say_aside if json else say
        report = export_version(read(), model, number, folder, wish, speak)
    if json:
        emit(report)
    else:
        typer.echo(f"Exported {report['model']}:{report['version']} to {printable(str(folder))}.")


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="In PEFT's or mlx-lm's form.")],
    *,
    model: Annotated[str, typer.Option(help="Name or id of the model that gets the version.")],
    base_digest: Annotated[
        str, typer.Option(metavar="SHA256", help="Of the base model it was trained on.")
    ] = "",
    unpinned: Annotated[
        bool, typer.Option("--unpinned", help="Take it although nothing tells its base model.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Import an adapter that was trained elsewhere as the model's next version.

    It has to be tied to the model's base model: by a digest in its own files, which this hub's
    exports hold, or by --base-digest. Only safetensors are read.
    """
    from services.stack.adopting import Pin, import_version  # noqa: PLC0415
    from services.stack.settings import read  # noqa: PLC0415

    with told():
        pin = Pin(base_digest, unpinned)
        speak = say_aside if json else say
        found = import_version(read(), folder, model, pin, speak)
    if json:
        show_one(found, json)
    else:
        typer.echo(f"Imported {printable(folder.name)} as version {found.version} of {model}.")
