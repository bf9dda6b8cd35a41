"""`mlx-hub datasets …`."""

from pathlib import Path
from typing import Annotated

import typer
from mlx_hub.cli.downloading import downloading
from mlx_hub.cli.output import (
    JsonOption,
    console,
    emit,
    moment,
    plain,
    printable,
    short,
    show_done,
    show_list,
    show_one,
    size,
)
from mlx_hub.cli.report import print_report
from mlx_hub.cli.session import find_dataset, find_model, hub, passed_on
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
def download(
    ctx: typer.Context,
    dataset: DatasetArgument,
    to: Annotated[Path, typer.Option("--to", dir_okay=False, help="The file; replaced if there.")],
    json: JsonOption = False,
) -> None:
    """Bring a dataset's JSONL as it came in, proven by its sha256."""
    here = hub(ctx)
    with downloading() as told:
        found = here.datasets.download(find_dataset(here, dataset).id, to, on_progress=told)
    if json:
        emit(plain(found))
    else:
        typer.echo(printable(f"{short(found.checksum)}  {size(found.size_bytes):>8}  {to}"))


@datasets_app.command()
def delete(ctx: typer.Context, dataset: DatasetArgument, json: JsonOption = False) -> None:
    """Delete a dataset that nothing refers to, no job, version, evaluation or gate; for good."""
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


@datasets_app.command()
def report(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Name or id.")],
    *,
    model: Annotated[str, typer.Option(help="Name or id of the model to train.")],
    max_seq_length: Annotated[int | None, typer.Option(help="Longest row in tokens.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step.")] = None,
    mask_prompt: Annotated[bool | None, typer.Option(help="Train on answers only.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of order and split.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Rows held out.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Rows never looked at.")] = None,
    json: JsonOption = False,
) -> None:
    """Show what a job on a model would make of a dataset; the options are the job's."""
    here = hub(ctx)
    found = here.datasets.report(
        find_dataset(here, dataset).id,
        find_model(here, model).id,
        **passed_on(ctx, "dataset", "model", "json"),
    )
    if json:
        emit(plain(found))
    else:
        print_report(found, console())
