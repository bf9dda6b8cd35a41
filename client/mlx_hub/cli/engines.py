"""`mlx-hub engines`, `mlx-hub load` and `mlx-hub unload`."""

from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.output import (
    JsonOption,
    console,
    emit,
    literal,
    moment,
    plain,
    short,
    show_done,
    show_list,
    show_one,
    size,
)
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.inference.v1.residency_pb2 import (
    Engine,
    EngineState,
    ListEnginesResponse,
    Loading,
    LoadingStage,
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=model_names,
        metavar="MODEL[:VERSION]",
        help="The model whose engine is meant.",
    ),
]
KeepAliveOption = Annotated[
    int | None, typer.Option(metavar="SECONDS", help="How long it stays unused; 0: not at all.")
]


def engines(ctx: typer.Context, json: JsonOption = False) -> None:
    """Show what is in memory, in which state and why."""
    found = hub(ctx).engines.list()
    if json:
        emit(plain(found))
        return
    columns = {
        "base model": lambda engine: engine.base_model,
        "state": state,
        "pinned": lambda engine: "yes" if engine.pinned else "",
        "users": lambda engine: engine.users,
        "peak": lambda engine: size(engine.peak_bytes),
        "forecast": lambda engine: size(engine.forecast_bytes),
        "adapters": lambda engine: engine.adapters,
        "draft model": lambda engine: engine.draft_model,
        "last step": lambda engine: moment(engine.last_step_at),
        "kept until": lambda engine: moment(engine.keep_alive_until),
        "restarts": lambda engine: engine.restarts,
        "reason": lambda engine: engine.reason,
    }
    show_list(found.engines, False, columns)
    for line in _notes(found):
        console().print(literal(line))


def load(
    ctx: typer.Context,
    model: ModelArgument,
    pin: Annotated[
        bool | None, typer.Option("--pin/--no-pin", help="Whether it is kept from eviction.")
    ] = None,
    keep_alive: KeepAliveOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a model into memory and wait until it is ready."""
    here = hub(ctx)
    name, version = split_version(model)
    found = find_model(here, name).id
    engine = here.engines.load(found, version=version, pin=pin, keep_alive_seconds=keep_alive)
    show_one(engine, json)


def unload(
    ctx: typer.Context,
    model: ModelArgument,
    force: Annotated[bool, typer.Option("--force", help="End its requests, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Take a model out of memory."""
    here = hub(ctx)
    name, version = split_version(model)
    here.engines.unload(find_model(here, name).id, version=version, force=force)
    show_done(f"{model} is not in memory", json)


def state(engine: Engine) -> str:
    """The state's name, with how far it is while it loads."""
    name = EngineState.Name(engine.state).removeprefix("ENGINE_STATE_").lower()
    return progress(engine.loading) if engine.HasField("loading") else name


def progress(loading: Loading) -> str:
    """How far a model is, in words."""
    stage = LoadingStage.Name(loading.stage).removeprefix("LOADING_STAGE_")
    share = f" {loading.share:.0%}" if loading.share else ""
    return stage.lower().replace("_", " ") + share


def _notes(found: ListEnginesResponse) -> list[str]:
    memory = found.memory
    notes = [
        f"{size(memory.held_bytes)} of {size(memory.budget_bytes)} leased, "
        f"{size(memory.free_bytes)} free"
    ]
    notes += [pair.reason for pair in found.draft_pairs if pair.reason]
    for suspect in found.suspects:
        until = moment(suspect.refused_until)
        refused = f"refused until {until}" if until else "not refused"
        notes.append(
            f"request {short(suspect.fingerprint)} on {suspect.base_model}: there for "
            f"{suspect.deaths} ends of an engine, the last {suspect.reason}; {refused}"
        )
    return notes
