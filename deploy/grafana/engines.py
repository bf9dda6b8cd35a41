"""The engines' part of the page on serving: what they do, and what they hold."""

from deploy.grafana.panels import Panel, Query, graph, number, quantiles

CHOSEN = '{base_model=~"$base_model"}'


def _events(name: str) -> str:
    # A series begins with its first event, which increase() does not see.
    now = f"mlx_hub_engine_{name}_total{CHOSEN}"
    return f"sum(clamp_min({now} - ({now} offset 15m or {now} * 0), 0)) or vector(0)"


ENGINES: list[Panel] = [
    number(
        "Engines in memory",
        "Ready, busy or on their way.",
        "none",
        f'count(mlx_hub_engine_state{{state!="failed",{CHOSEN[1:]} == 1) or vector(0)',
        see="engines",
    ),
    number(
        "Engines that failed",
        "They do not come back by themselves.",
        "none",
        f'sum(mlx_hub_engine_state{{state="failed",{CHOSEN[1:]}) or vector(0)',
        see="enginedown",
        limits=(1,),
    ),
    number(
        "Restarts",
        "In 15 minutes: started in place of one that ended.",
        "none",
        _events("restarts"),
        see="enginerestarting",
        limits=(1, 3),
    ),
    number(
        "Stalls",
        "In 15 minutes: ended for want of progress.",
        "none",
        _events("stalls"),
        see="enginerestarting",
        limits=(1, 3),
    ),
    number(
        "Evictions",
        "In 15 minutes: made way for another engine or a job, idle too long, or asked to.",
        "none",
        _events("evictions"),
        see="engines",
    ),
    number(
        "Damaged files refused",
        "Files that an engine would not load, in an hour.",
        "none",
        'sum(increase(mlx_hub_engine_verifications_total{verdict="damaged"}[1h]))',
        see="enginefilesdamaged",
        limits=(1,),
    ),
    graph(
        "Rows of the batch",
        "Requests that an engine works on at the same time, at each of its steps.",
        "none",
        quantiles("mlx_hub_engine_batch_rows", CHOSEN, (50, 95)),
        see="busy-engines",
    ),
    graph(
        "Steps a second",
        "An engine with requests and without steps stalls.",
        "ops",
        [Query(f"rate(mlx_hub_engine_steps_total{CHOSEN}[$__rate_interval])", "{{base_model}}")],
        see="engines",
    ),
    graph(
        "Time to load",
        "From start to readiness, files verified; of all loads since the service started.",
        "s",
        [
            Query(
                "histogram_quantile(0.95, sum by (le, base_model) "
                f"(mlx_hub_engine_load_seconds_bucket{CHOSEN}))",
                "{{base_model}} p95",
            )
        ],
        see="engines",
    ),
]

MEMORY: list[Panel] = [
    graph(
        "Held and forecast",
        "An engine that goes beyond its forecast takes memory that was promised to others.",
        "bytes",
        [
            Query(f"mlx_hub_engine_active_bytes{CHOSEN}", "{{base_model}} now"),
            Query(f"mlx_hub_engine_peak_bytes{CHOSEN}", "{{base_model}} most"),
            Query(f"mlx_hub_engine_forecast_bytes{CHOSEN}", "{{base_model}} forecast"),
        ],
        see="engineoverforecast",
    ),
    graph(
        "Keys and values",
        "Of the requests in the batch.",
        "bytes",
        [Query(f"mlx_hub_engine_kv_bytes{CHOSEN}", "{{base_model}}")],
        see="memory",
    ),
    graph(
        "Adapters held",
        "Of MLX_HUB_ADAPTER_SLOTS an engine.",
        "none",
        [
            Query(f"mlx_hub_engine_adapters{CHOSEN}", "{{base_model}}"),
            Query("mlx_hub_engine_adapter_slots", "slots"),
        ],
        see="versions-in-engines",
    ),
]
