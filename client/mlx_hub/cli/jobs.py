"""`mlx-hub jobs …`."""

from enum import StrEnum
from typing import Annotated

import typer
from mlx_hub.cli import verdict
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.curve import outcome, status_name
from mlx_hub.cli.live import follow
from mlx_hub.cli.logs import logs
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
from mlx_hub.cli.recipe import takes_recipe
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


@jobs_app.command()
@takes_recipe
def submit(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(autocompletion=model_names, help="Name or id of the model to train.")
    ],
    dataset: Annotated[str, typer.Argument(help="Name or id of the data.")],
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and watch it.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue a job; what you don't say takes the hub's default."""
    here = hub(ctx)
    ids = find_model(here, model).id, find_dataset(here, dataset).id
    job = here.jobs.create(*ids, **passed_on(ctx, "model", "dataset", "watch", "json"))
    if watch:
        _watch(here, job.id, json)
    else:
        show_one(job, json)


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
            "VERSION": lambda job: job.version or verdict.in_short(job),
            "CREATED": lambda job: moment(job.created_at),
        },
    )


@jobs_app.command()
def show(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Show one job."""
    show_one(hub(ctx).jobs.get(job), json)


@jobs_app.command()
def watch(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Watch a job from its first event until it ends.

    Exits 1 unless it completes, and, if it is a replay, finds the same.
    """
    _watch(hub(ctx), job, json)


@jobs_app.command()
def cancel(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Cancel a queued or running job; it leaves no version."""
    show_one(hub(ctx).jobs.cancel(job), json)


@jobs_app.command()
def retry(
    ctx: typer.Context,
    job: JobArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and watch it.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue a failed or cancelled job again, from its last checkpoint if that is still there."""
    here = hub(ctx)
    again = here.jobs.retry(job)
    if watch:
        _watch(here, job, json)
    else:
        show_one(again, json)


@jobs_app.command()
def replay(ctx: typer.Context, job: JobArgument, json: JsonOption = False) -> None:
    """Train a completed job again and watch whether the same bytes come of it.

    Publishes nothing. Stops at the first loss that differs; exits 1 if one does, or the hash.
    """
    here = hub(ctx)
    _watch(here, here.jobs.replay(job).id, json)


jobs_app.command()(logs)


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
    if job.replay_of:
        if not as_json:
            verdict.print_differences(job, console())
        if not verdict.is_same(job):
            raise typer.Exit(1)
