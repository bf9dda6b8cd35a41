"""The few kinds of panel that the dashboards are made of, in one style."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as query
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "mlx-hub"
HANDBOOK = "docs/operations.md"
HEIGHT = 8
_COLOURS = ("green", "orange", "red")

type Panel = timeseries.Panel | stat.Panel | heatmap.Panel


@dataclass(frozen=True)
class Query:
    """An expression, and how its series are named."""

    expr: str
    legend: str = ""


def quantiles(metric: str, selector: str = "", shares: Sequence[int] = (50, 95, 99)) -> list[Query]:
    """Give a histogram's percentiles over all of its series."""
    rate = f"sum by (le) (rate({metric}_bucket{selector}[$__rate_interval]))"
    return [Query(f"histogram_quantile({n / 100:g}, {rate})", f"p{n}") for n in shares]


def graph(
    title: str,
    about: str,
    unit: str,
    queries: Sequence[Query],
    *,
    see: str,
    span: int = 8,
    limits: Sequence[float] = (),
    stacked: bool = False,
) -> timeseries.Panel:
    """Show series over time; beyond each limit the background turns."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(_described(about, see))
        .unit(unit)
        .min(0)
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(span)
        .legend(_legend())
        .tooltip(_tooltip())
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .thresholds(_thresholds(limits))
    )
    if stacked:
        panel.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL))
    if limits:
        area = common.GraphThresholdsStyleMode.DASHED_AND_AREA
        panel.thresholds_style(options.GraphThresholdsStyleConfig().mode(area))
    return _asked(panel, queries)


def number(
    title: str,
    about: str,
    unit: str,
    expr: str,
    *,
    see: str,
    span: int = 4,
    limits: Sequence[float] = (),
    falling: bool = False,
    legend: str = "",
) -> stat.Panel:
    """Show what is now; green up to the first limit, or with `falling` from the last on."""
    panel = (
        stat.Panel()
        .title(title)
        .description(_described(about, see))
        .unit(unit)
        .datasource(SOURCE)
        .height(HEIGHT // 2)
        .span(span)
        .reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .thresholds(_thresholds(limits, falling=falling))
    )
    return _asked(panel, [Query(expr, legend)])


def heat(
    title: str, about: str, unit: str, metric: str, selector: str = "", *, see: str, span: int = 8
) -> heatmap.Panel:
    """Show how a histogram's values spread over time."""
    panel = (
        heatmap.Panel()
        .title(title)
        .description(_described(about, see))
        .datasource(SOURCE)
        .height(HEIGHT)
        .span(span)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
        )
        .show_legend()
    )
    expr = f"sum by (le) (increase({metric}_bucket{selector}[$__rate_interval]))"
    return panel.with_target(
        _target(Query(expr, "{{le}}"), 0).format(query.PromQueryFormat.HEATMAP)
    )


def sheet(
    uid: str,
    title: str,
    about: str,
    rows: Sequence[tuple[str, Sequence[Panel]]],
    variables: Sequence[board.QueryVariable] = (),
) -> board.Dashboard:
    """Make a dashboard of named rows of panels; it links to the others by their tag."""
    made = (
        board.Dashboard(f"MLX Model Hub / {title}")
        .uid(f"mlx-hub-{uid}")
        .description(about)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .with_variable(
            board.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    for variable in variables:
        made.with_variable(variable)
    numbers = itertools.count(1)  # by which a link names a panel
    for name, panels in rows:
        made.with_row(board.Row(name).id(next(numbers)))
        for panel in panels:
            made.with_panel(panel.id(next(numbers)))
    return made


def variable(name: str, label: str, about: str, values: str) -> board.QueryVariable:
    """Let the reader choose among a label's values; all of them at first."""
    return (
        board.QueryVariable(name)
        .label(label)
        .description(about)
        .datasource(SOURCE)
        .query(values)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NUMERICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
    )


def _legend() -> options.VizLegendOptions:
    return (
        options.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )


def _tooltip() -> options.VizTooltipOptions:
    return (
        options.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )


def _others() -> board.DashboardLink:
    return (
        board.DashboardLink("Dashboards of the hub")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(False)
        .keep_time(True)
        .icon("external link")
        .tooltip("")
        .url("")
        .target_blank(False)
    )


def _described(about: str, see: str) -> str:
    return f"{about}\n\nSee {HANDBOOK}#{see}."


def _thresholds(limits: Sequence[float], *, falling: bool = False) -> board.ThresholdsConfig:
    colours = _COLOURS[: len(limits) + 1] if len(limits) > 1 else ("green", "red")
    if falling:
        colours = tuple(reversed(colours))
    steps = [dashboard.Threshold(value=None, color=colours[0] if limits else "green")]
    steps += [
        dashboard.Threshold(value=limit, color=colour)
        for limit, colour in zip(limits, colours[1:], strict=False)
    ]
    return board.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _asked[P: (timeseries.Panel, stat.Panel)](panel: P, queries: Sequence[Query]) -> P:
    for position, wanted in enumerate(queries):
        panel.with_target(_target(wanted, position))
    return panel


def _target(wanted: Query, position: int) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .datasource(SOURCE)
        .ref_id(chr(ord("A") + position))
        .expr(wanted.expr)
        .legend_format(wanted.legend or "__auto")
    )
