"""`mlx-hub quality …`."""

from enum import StrEnum
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
    show_done,
    show_list,
    show_one,
)
from mlx_hub.cli.session import find_dataset, find_model, hub, pair, split_version
from mlx_hub.registry.v1.evaluation_pb2 import EvaluationSplit
from mlx_hub.registry.v1.promotion_gate_pb2 import MetricDirection
from mlx_hub.registry.v1.quality_trend_pb2 import QualityChange, QualityPoint, QualitySeries

quality_app = typer.Typer(no_args_is_help=True, help="How good a model's versions are.")

ModelArgument = Annotated[
    str, typer.Argument(autocompletion=model_names, metavar="MODEL", help="Name or id of a model.")
]
MetricFilter = Annotated[str, typer.Option(help="Only this metric.")]
DatasetFilter = Annotated[str | None, typer.Option(help="Only this data, by name or id.")]


class Split(StrEnum):
    """Which rows of a dataset were used."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"
    ALL = "all"


class Direction(StrEnum):
    """Which values of a metric are better."""

    LOWER = "lower"
    HIGHER = "higher"


@quality_app.command()
def record(
    ctx: typer.Context,
    version: Annotated[
        str,
        typer.Argument(autocompletion=model_names, metavar="MODEL:VERSION", help="Or MODEL:base."),
    ],
    *,
    metric: Annotated[str, typer.Option(help="Such as accuracy.")],
    value: Annotated[float, typer.Option(help="What was measured.")],
    dataset: Annotated[str, typer.Option(help="Name or id of the data.")],
    split: Annotated[Split, typer.Option(help="Which rows of it.")],
    how: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable.")] = None,
    json: JsonOption = False,
) -> None:
    """Record a measured value of a version or of the base model."""
    here = hub(ctx)
    model, number = split_version(version)
    if not number:
        raise typer.BadParameter("say which version: MODEL:NUMBER, MODEL@ALIAS or MODEL:base")
    evaluation = here.quality.record(
        find_model(here, model).id,
        number,
        metric,
        value,
        dataset_id=find_dataset(here, dataset).id,
        split=split,
        how=dict(pair(text) for text in how or ()),
    )
    show_one(evaluation, json)


@quality_app.command("list")
def list_evaluations(
    ctx: typer.Context,
    model: ModelArgument,
    metric: MetricFilter = "",
    dataset: DatasetFilter = None,
    version: Annotated[str, typer.Option(help="Only this version, alias or base.")] = "",
    json: JsonOption = False,
) -> None:
    """List a model's evaluations, newest first."""
    here = hub(ctx)
    dataset_id = find_dataset(here, dataset).id if dataset else 0
    model_id = find_model(here, model).id
    show_list(
        here.quality.list(model_id, version=version, metric=metric, dataset_id=dataset_id),
        json,
        {
            "WHEN": lambda evaluation: moment(evaluation.created_at),
            "VERSION": lambda evaluation: evaluation.version or "base",
            "METRIC": lambda evaluation: evaluation.metric,
            "VALUE": lambda evaluation: f"{evaluation.value:.6g}",
            "DATASET": lambda evaluation: evaluation.dataset_id,
            "SPLIT": lambda evaluation: _split(evaluation.split),
            "HOW": lambda evaluation: ", ".join(
                f"{key}={text}" for key, text in sorted(evaluation.how.items())
            ),
        },
    )


@quality_app.command()
def trend(
    ctx: typer.Context,
    model: ModelArgument,
    metric: MetricFilter = "",
    dataset: DatasetFilter = None,
    versions: Annotated[int, typer.Option(help="How many of the newest; 0: 50.")] = 0,
    json: JsonOption = False,
) -> None:
    """Show how a model's metrics went over its versions."""
    here = hub(ctx)
    dataset_id = find_dataset(here, dataset).id if dataset else 0
    model_id = find_model(here, model).id
    found = here.quality.trend(model_id, metric=metric, dataset_id=dataset_id, versions=versions)
    if json:
        emit(plain(found))
        return
    for series in found.series:
        _show_series(series)
    if not found.series:
        typer.echo("nothing was evaluated")
    if found.truncated:
        typer.echo("older versions were left out; see --versions")


@quality_app.command()
def gate(ctx: typer.Context, model: ModelArgument, json: JsonOption = False) -> None:
    """Show what a version must show before it is promoted."""
    here = hub(ctx)
    show_one(here.quality.gate(find_model(here, model).id), json)


@quality_app.command()
def set_gate(
    ctx: typer.Context,
    model: ModelArgument,
    *,
    metric: Annotated[str, typer.Option(help="What is compared.")],
    direction: Annotated[Direction, typer.Option(help="What is better.")],
    dataset: Annotated[str, typer.Option(help="Name or id of the data.")],
    split: Annotated[Split, typer.Option(help="Which rows of it; a job measures valid.")],
    tolerance: Annotated[float, typer.Option(help="How much worse still passes.")] = 0.0,
    alias: Annotated[list[str] | None, typer.Option(help="Guarded; default: all.")] = None,
    json: JsonOption = False,
) -> None:
    """Let no version be promoted that is worse than the one in its place."""
    here = hub(ctx)
    made = here.quality.set_gate(
        find_model(here, model).id,
        metric,
        direction=direction,
        dataset_id=find_dataset(here, dataset).id,
        split=split,
        tolerance=tolerance,
        aliases=alias or (),
    )
    show_one(made, json)


@quality_app.command()
def clear_gate(ctx: typer.Context, model: ModelArgument, json: JsonOption = False) -> None:
    """Remove the gate: any ready version can be promoted."""
    here = hub(ctx)
    here.quality.delete_gate(find_model(here, model).id)
    show_done(f"removed the gate of {model}", json)


def _show_series(series: QualitySeries) -> None:
    ui = console()
    facts = [f"{series.metric} on dataset {series.dataset_id} ({_split(series.split)})"]
    if series.direction:
        facts.append(_name(MetricDirection.Name(series.direction), "METRIC_DIRECTION_"))
    if series.HasField("base_value"):
        facts.append(f"base {series.base_value:.6g}")
    ui.print(literal(", ".join(facts), style="bold"))
    show_list(
        series.points,
        False,
        {
            "VERSION": lambda point: point.version,
            "VALUE": lambda point: f"{point.value:.6g}",
            "TO PREVIOUS": _to_previous,
            "TO BASE": _to_base,
            "ALIASES": lambda point: ", ".join(point.aliases),
        },
    )
    if len(series.points) > 1:
        from mlx_hub.cli.plot import print_trend  # noqa: PLC0415  plotext is slow to load

        print_trend(series, ui)


def _to_previous(point: QualityPoint) -> str:
    delta = f"{point.delta_previous:+.4g}" if point.HasField("delta_previous") else ""
    change = _name(QualityChange.Name(point.change), "QUALITY_CHANGE_") if point.change else ""
    return f"{delta} {change}".strip()


def _to_base(point: QualityPoint) -> str:
    return f"{point.delta_base:+.4g}" if point.HasField("delta_base") else ""


def _split(split: EvaluationSplit.ValueType) -> str:
    return _name(EvaluationSplit.Name(split), "EVALUATION_SPLIT_")


def _name(constant: str, prefix: str) -> str:
    return constant.removeprefix(prefix).lower().replace("_", " ")
