"""`mlx-hub jobs forecast`: what a job would need, before it is queued."""

from collections.abc import Iterator
from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.output import JsonOption, show_one, size
from mlx_hub.cli.recipe import takes_recipe
from mlx_hub.cli.session import find_dataset, find_model, hub, passed_on
from mlx_hub.trainer.v1.training_memory_pb2 import ForecastTrainingResponse


@takes_recipe
def forecast(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(autocompletion=model_names, help="Name or id of the model to train.")
    ],
    dataset: Annotated[str, typer.Argument(help="Name or id of the data.")],
    *,
    json: JsonOption = False,
) -> None:
    """Tell how much memory a job would need; exits 1 if it could never begin."""
    here = hub(ctx)
    ids = find_model(here, model).id, find_dataset(here, dataset).id
    found = here.jobs.forecast(*ids, **passed_on(ctx, "model", "dataset", "json"))
    if json:
        show_one(found, json)
    else:
        typer.echo("\n".join(_lines(found)))
    if not found.fits_ever:
        raise typer.Exit(1)


def _lines(found: ForecastTrainingResponse) -> Iterator[str]:
    parts, room = found.forecast, found.room
    batch = f"{parts.rows} rows of up to {parts.tokens} tokens"
    yield f"{size(parts.total_bytes)} for batches of {batch}"
    for name, count in (
        ("process", parts.process_bytes),
        ("weights", parts.weight_bytes),
        ("optimizer", parts.optimizer_bytes),
        ("activations", parts.activation_bytes),
    ):
        yield f"  {name:<12} {size(count)}"
    budget, held, free = room.budget_bytes, room.held_bytes, room.free_bytes
    yield f"budget {size(budget)}, held {size(held)}, free {size(free)}"
    if found.fits_now:
        yield "it fits now"
    elif found.fits_ever:
        yield "it has to wait until others give memory back"
    else:
        yield "it would be refused"
    for advice in found.advice:
        yield f"  {advice.field} {advice.value} would need {size(advice.total_bytes)}"
