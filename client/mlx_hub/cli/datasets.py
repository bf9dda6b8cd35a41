"""`mlx-hub datasets …`."""

from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.output import (
    JsonOption,
    console,
    moment,
    short,
    show_done,
    show_list,
    show_one,
    size,
)
from mlx_hub.cli.session import find_dataset, hub
from mlx_hub.registry.v1.dataset_pb2 import DatasetSchema
from rich.progress import open as open_with_progress

DatasetArgument = Annotated[str, typer.Argument(help="Name or id.")]

datasets_app = typer.Typer(no_args_is_help=True, help="Training data.")


@datasets_app.command("list")
def list_datasets(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Option(help="Only names that start so.")] = "",
    json: JsonOption = False,
) -> None:
    """List datasets by rising id."""
    show_list(
        hub(ctx).datasets.list(name_prefix=prefix),
        json,
        {
            "ID": lambda dataset: dataset.id,
            "NAME": lambda dataset: dataset.name,
            "ROWS": lambda dataset: dataset.rows,
            "SCHEMA": lambda dataset: (
                DatasetSchema.Name(dataset.schema).removeprefix("DATASET_SCHEMA_").lower()
            ),
            "SIZE": lambda dataset: size(dataset.size_bytes),
            "CHECKSUM": lambda dataset: short(dataset.checksum),
            "CREATED": lambda dataset: moment(dataset.created_at),
        },
    )


@datasets_app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A new name.")],
    path: Annotated[str, typer.Argument(help="A .jsonl file, relative to the dataset root.")],
    json: JsonOption = False,
) -> None:
    """Register a JSONL file that lies under the hub's dataset root."""
    show_one(hub(ctx).datasets.create(name, path), json)


@datasets_app.command()
def upload(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A new name.")],
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A JSONL file of this machine.")
    ],
    json: JsonOption = False,
) -> None:
    """Register a JSONL file of this machine, wherever it lies."""
    ui = console(stderr=True)
    with open_with_progress(
        file, "rb", description="Uploading", console=ui, disable=not ui.is_terminal
    ) as source:
        dataset = hub(ctx).datasets.upload(name, source)
    show_one(dataset, json)


@datasets_app.command()
def delete(ctx: typer.Context, dataset: DatasetArgument, json: JsonOption = False) -> None:
    """Delete a dataset that no job and no version refers to; there is no way back."""
    here = hub(ctx)
    found = find_dataset(here, dataset)
    here.datasets.delete(found.id)
    show_done(f"deleted dataset {found.id} ({found.name})", json)


@datasets_app.command()
def show(
    ctx: typer.Context,
    dataset: DatasetArgument,
    json: JsonOption = False,
) -> None:
    """Show one dataset."""
    show_one(find_dataset(hub(ctx), dataset), json)
