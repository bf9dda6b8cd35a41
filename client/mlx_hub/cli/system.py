"""`mlx-hub status` and `mlx-hub metrics`."""

import typer
from mlx_hub.cli.output import JsonOption, console, emit, plain, printable
from mlx_hub.cli.session import hub
from mlx_hub.system.v1.system_service_pb2 import Health, ServingStatus


def status(ctx: typer.Context, json: JsonOption = False) -> None:
    """Show how each service is; exits 5 unless all serve."""
    health = hub(ctx).health()
    if json:
        emit(plain(health))
    else:
        for line in health_lines(health):
            console().print(line)
    if health.status != ServingStatus.SERVING_STATUS_SERVING:
        raise typer.Exit(5)


def metrics(ctx: typer.Context, json: JsonOption = False) -> None:
    """Print the Prometheus metrics of every service."""
    text = hub(ctx).metrics()
    if json:
        emit(parse_metrics(text))
    else:
        typer.echo(printable(text), nl=False)


def health_lines(health: Health) -> list[str]:
    """One line for each service and one for the whole."""
    named = [*((service.name, service.status) for service in health.services)]
    return [
        f"{printable(name):<10} {ServingStatus.Name(state).removeprefix('SERVING_STATUS_').lower()}"
        for name, state in [*named, ("hub", health.status)]
    ]


def parse_metrics(text: str) -> dict[str, float]:
    """The samples of a Prometheus text, by name and labels as written."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    samples = (line.rpartition(" ") for line in lines)
    return {series: float(value) for series, _, value in samples}
