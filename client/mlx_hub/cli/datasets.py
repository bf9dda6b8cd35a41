"""`mlx-hub datasets …`."""

from typing import Annotated

import typer
from mlx_hub.cli.output import JsonOption, moment, short, show_list, show_one, size
from mlx_hub.cli.session import find_dataset, hub
from mlx_hub.registry.v1.dataset_pb2 import DatasetSchema

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
def show(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Name or id.")],
    json: JsonOption = False,
) -> None:
    """Show one dataset."""
    show_one(find_dataset(hub(ctx), dataset), json)
