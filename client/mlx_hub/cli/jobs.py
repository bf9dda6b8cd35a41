"""`mlx-hub jobs …`."""

from enum import StrEnum
from typing import Annotated

import typer
from mlx_hub.cli.curve import outcome, status_name
from mlx_hub.cli.live import follow
from mlx_hub.cli.output import (
    JsonOption,
    console,
    emit,
    moment,
    plain,
    printable,
    show_list,
    show_one,
)
from mlx_hub.cli.session import find_dataset, find_model, hub, passed_on
from mlx_hub.client import Hub
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus

jobs_app = typer.Typer(no_args_is_help=True, help="Training jobs.")

JobArgument = Annotated[int, typer.Argument(metavar="JOB", help="Id of a job.")]


class Status(StrEnum):
    """The statuses a list can be narrowed to."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Method(StrEnum):
    """What is trained."""

    LORA = "lora"
    DORA = "dora"
    FULL = "full"


class Optimizer(StrEnum):
    """How a gradient changes the weights."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"
    ADAFACTOR = "adafactor"
    LION = "lion"


class Schedule(StrEnum):
    """How the learning rate changes after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


TargetKeys = Annotated[
    list[str] | None, typer.Option("--target-key", help="A linear layer to train; repeat it.")
]


@jobs_app.command()
def submit(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of the model to train.")],
    dataset: Annotated[str, typer.Argument(help="Name or id of the data.")],
    *,
    lora_rank: Annotated[int | None, typer.Option(help="Rank of the adapter.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a batch.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and split.")] = None,
    lora_scale: Annotated[float | None, typer.Option(help="Factor of the adapter.")] = None,
    lora_dropout: Annotated[float | None, typer.Option(help="Dropout of the adapter.")] = None,
    lora_layers: Annotated[int | None, typer.Option(help="Last layers trained; 0 all.")] = None,
    max_seq_length: Annotated[int | None, typer.Option(help="Longest row in tokens.")] = None,
    mask_prompt: Annotated[bool | None, typer.Option(help="Train on answers only.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Rows held out.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Rows never looked at.")] = None,
    checkpoint_every_steps: Annotated[int | None, typer.Option(help="Steps between.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Before it fails for good.")] = None,
    checkpoints_kept: Annotated[int | None, typer.Option(help="The newest that stay.")] = None,
    method: Annotated[Method | None, typer.Option(help="So far only lora is served.")] = None,
    quantize_bits: Annotated[int | None, typer.Option(help="Of the base: 0, 4 or 8.")] = None,
    target_keys: TargetKeys = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="Default adamw.")] = None,
    schedule: Annotated[Schedule | None, typer.Option(help="After the warm-up.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Steps up to the peak.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of the optimizer.")] = None,
    grad_clip: Annotated[float | None, typer.Option(help="Largest norm; 0 any.")] = None,
    grad_accumulation: Annotated[int | None, typer.Option(help="Batches in a step.")] = None,
    grad_checkpoint: Annotated[bool | None, typer.Option(help="Slower, less memory.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and watch it.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue a job; what you don't say takes the hub's default."""
    here = hub(ctx)
    ids = find_model(here, model).id, find_dataset(here, dataset).id
    job = here.jobs.create(*ids, **passed_on(ctx, "model", "dataset", "watch", "json"))
    _watch(here, job.id, json) if watch else show_one(job, json)


@jobs_app.command("list")
def list_jobs(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(help="Only this model's, by name or id.")] = "",
    status: Annotated[Status | None, typer.Option(help="Only in this status.")] = None,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    here = hub(ctx)
    show_list(
        here.jobs.list(
            model_id=find_model(here, model).id if model else 0,
            status=status.value if status else "unspecified",
        ),
        json,
        {
            "ID": lambda job: job.id,
            "STATUS": status_name,
            "MODEL": lambda job: job.model_id,
            "DATASET": lambda job: job.dataset_id,
            "STEP": lambda job: f"{job.progress.step}/{job.progress.total_steps}",
            "LOSS": lambda job: f"{job.progress.loss:.3f}" if job.progress.step else "",
            "VERSION": lambda job: job.version or "",
            "CREATED": lambda job: moment(job.created_at),
        },
    )


@jobs_app.command()
def show(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Show one job."""
    show_one(hub(ctx).jobs.get(job), json)


@jobs_app.command()
def watch(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Watch a job from its first event until it ends; exits 1 unless it completes."""
    _watch(hub(ctx), job, json)


@jobs_app.command()
def cancel(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Cancel a queued or running job; it leaves no version."""
    show_one(hub(ctx).jobs.cancel(job), json)


def _watch(here: Hub, job_id: int, as_json: bool) -> None:
    events = here.jobs.watch(job_id, after_sequence=0)
    if as_json:
        for event in events:
            emit(plain(event), indent=None)
    else:
        follow(events, console())
    job = here.jobs.get(job_id)
    if job.status != JobStatus.JOB_STATUS_COMPLETED:
        typer.echo(printable(f"error: {outcome(job)}"), err=True)
        raise typer.Exit(1)
    if not as_json:
        typer.echo(outcome(job))
