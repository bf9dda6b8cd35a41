"""`mlx-hub jobs forecast`: what a job would need, before it is queued."""

from collections.abc import Iterator
from typing import Annotated

import typer
from mlx_hub.cli.jobs import Method, Optimizer, TargetKeys
from mlx_hub.cli.output import JsonOption, show_one, size
from mlx_hub.cli.session import find_dataset, find_model, hub, passed_on
from mlx_hub.trainer.v1.training_memory_pb2 import ForecastTrainingResponse


def forecast(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="Name or id of the model to train.")],
    dataset: Annotated[str, typer.Argument(help="Name or id of the data.")],
    *,
    lora_rank: Annotated[int | None, typer.Option(help="Rank of the adapter.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a batch.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split.")] = None,
    lora_dropout: Annotated[float | None, typer.Option(help="Dropout of the adapter.")] = None,
    lora_layers: Annotated[int | None, typer.Option(help="Last layers trained; 0 all.")] = None,
    max_seq_length: Annotated[int | None, typer.Option(help="Longest row in tokens.")] = None,
    mask_prompt: Annotated[bool | None, typer.Option(help="Train on answers only.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Rows held out.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Rows never looked at.")] = None,
    method: Annotated[Method | None, typer.Option(help="Default lora.")] = None,
    quantize_bits: Annotated[int | None, typer.Option(help="Of the base: 0, 4 or 8.")] = None,
    target_keys: TargetKeys = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="Default adamw.")] = None,
    grad_clip: Annotated[float | None, typer.Option(help="Largest norm; 0 any.")] = None,
    grad_accumulation: Annotated[int | None, typer.Option(help="Batches in a step.")] = None,
    grad_checkpoint: Annotated[bool | None, typer.Option(help="Slower, less memory.")] = None,
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
