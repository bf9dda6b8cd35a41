"""`mlx-hub verify`: every byte that a version stands on, compared with the record."""

from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.output import JsonOption, console, emit, literal, plain, printable, short
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.registry.v1.provenance_service_pb2 import (
    SignatureStatus,
    Verification,
    VerificationCheck,
)
from rich.console import Console
from rich.table import Table


def verify(
    ctx: typer.Context,
    version: Annotated[
        str,
        typer.Argument(
            autocompletion=model_names,
            metavar="MODEL:VERSION",
            help="By number or alias; else latest.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Read and hash all that a version stands on; exits 1 unless it is intact."""
    here = hub(ctx)
    model, number = split_version(version, default="latest")
    told = here.models.verify(find_model(here, model).id, number)
    if json:
        emit(plain(told))
    else:
        show_verification(told)
    if not told.intact:
        raise typer.Exit(1)


def show_verification(told: Verification, ui: Console | None = None) -> None:
    """Print the checks and what they come to."""
    ui = ui or console()
    table = Table.grid(padding=(0, 2))
    for check in told.checks:
        mark = literal("✓ ok" if check.ok else "✗ WRONG", "green" if check.ok else "bold red")
        table.add_row(mark, printable(check.what), *map(literal, _facts(check)))
    ui.print(table)
    ui.print(literal(_summary(told), "green" if told.intact else "bold red"))


def _facts(check: VerificationCheck) -> tuple[str, str]:
    """What was found, and if that is wrong, what it should be and what to do."""
    found, expected = _abbreviated(check.found), _abbreviated(check.expected)
    if check.ok:
        return found, ""
    return found or "nothing", f"expected {expected}: {check.message}"


def _abbreviated(text: str) -> str:
    return short(text) if len(text) == 64 else text


def _summary(told: Verification) -> str:
    bad = sum(not check.ok for check in told.checks)
    name = f"{told.model_name}:{told.version}"
    word = SignatureStatus.Name(told.signature).removeprefix("SIGNATURE_STATUS_").lower()
    key = f" (key {short(told.key_id)})" if told.key_id else ""
    signature = f"signature: {word.replace('_', ' ')}{key}"
    if told.intact:
        return f"{name} is intact: {len(told.checks)} checks are ok; {signature}"
    return f"{name} is NOT intact: {bad} of {len(told.checks)} checks are wrong; {signature}"
