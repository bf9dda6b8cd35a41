"""Serving: how fast answers come, what is refused, what the engines hold."""

from collections.abc import Callable

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.panels import Panel, Query, graph, heat, number, quantiles, sheet, variable

_OF = '{model_id=~"$model",version=~"$version"}'
_ENGINE = '{base_model=~"$base_model"}'
_VERSION = "{{model_id}}:{{version}}"


def make() -> dashboard.Dashboard:
    """Make the dashboard."""
    rows: list[tuple[str, Callable[[], list[Panel]]]] = [
        ("How fast answers come", _speed),
        ("How much", _traffic),
        ("In line and refused", _line),
        ("Prefix cache and drafting", _savings),
        ("Engines", _engines),
        ("Engines' memory", _memory),
    ]
    answers = "mlx_hub_inference_answers_total"
    return sheet(
        "inference",
        "Inference",
        "Serving, by model, version and base model.",
        [(name, panels()) for name, panels in rows],
        [
            variable(
                "model",
                "Model",
                "Ids; `mlx-hub models list` names them.",
                f"label_values({answers}, model_id)",
            ),
            variable(
                "version",
                "Version",
                "0 is the base model alone.",
                f'label_values({answers}{{model_id=~"$model"}}, version)',
            ),
            variable(
                "base_model",
                "Base model",
                "What an engine runs; a version of method full by MODEL:VERSION.",
                "label_values(mlx_hub_engine_state, base_model)",
            ),
        ],
    )


def _speed() -> list[Panel]:
    return [
        graph(
            "Time to the first token",
            "From a request's arrival at the service, so with its wait in line.",
            "s",
            quantiles("mlx_hub_inference_ttft_seconds", _OF),
            see="slowfirsttoken",
            limits=(10,),
        ),
        heat(
            "Time to the first token, spread",
            "Two bands are two kinds of request: kept and new prompts, or short and long ones.",
            "s",
            "mlx_hub_inference_ttft_seconds",
            _OF,
            see="prefix-cache",
        ),
        graph(
            "Engine's part of it",
            "From the engine's receipt of the tokens; the rest is waiting and loading.",
            "s",
            quantiles("mlx_hub_inference_engine_ttft_seconds", _OF),
            see="engines",
        ),
        graph(
            "Time for each further token",
            "Of finished answers, first token to last.",
            "s",
            quantiles("mlx_hub_inference_time_per_token_seconds", _OF),
            see="busy-engines",
        ),
        heat(
            "From token to token, spread",
            "As the engine saw it; long gaps are other requests' prompts being read.",
            "s",
            "mlx_hub_engine_inter_token_seconds",
            _ENGINE,
            see="busy-engines",
        ),
        graph(
            "Wait for one's turn",
            "From arrival to a row of an engine, its loading included.",
            "s",
            quantiles("mlx_hub_inference_queue_wait_seconds"),
            see="inferencequeuestuck",
        ),
    ]


def _traffic() -> list[Panel]:
    def rate(name: str, by: str) -> str:
        return f"sum by ({by}) (rate(mlx_hub_inference_{name}_total{_OF}[$__rate_interval]))"

    return [
        graph(
            "Answers by version",
            "Finished answers.",
            "reqps",
            [Query(rate("answers", "model_id, version"), _VERSION)],
            see="versions-in-engines",
            stacked=True,
        ),
        graph(
            "Answers by how they ended",
            "stop: by themselves; length: cut at max_tokens.",
            "reqps",
            [Query(rate("answers", "finish_reason"), "{{finish_reason}}")],
            see="answers-that-must-fit",
            stacked=True,
        ),
        graph(
            "Tokens",
            "Read from prompts, and generated, of finished answers.",
            "cps",
            [
                Query(f"sum({rate('prompt_tokens', 'version')})", "prompt"),
                Query(f"sum({rate('generated_tokens', 'version')})", "generated"),
            ],
            see="busy-engines",
        ),
    ]


def _line() -> list[Panel]:
    def reasons(name: str, label: str) -> Query:
        rate = f"sum by ({label}) (rate(mlx_hub_inference_{name}_total[$__rate_interval]))"
        return Query(f"{rate} or on() vector(0)", f"{{{{{label}}}}}")

    return [
        graph(
            "In line and being served",
            "Requests; an engine answers at most as many at a time as it has rows.",
            "none",
            [
                Query("mlx_hub_inference_waiting", "waiting"),
                Query("mlx_hub_inference_running", "being served"),
                Query("mlx_hub_engine_row_slots", "rows of one engine"),
            ],
            see="busy-engines",
        ),
        graph(
            "Refused before an engine worked, by reason",
            "docs/errors.md says what each reason asks of whom; none as long as nothing was refused.",
            "reqps",
            [reasons("refusals", "reason")],
            see="busy-engines",
            stacked=True,
        ),
        graph(
            "Admitted, failed and left",
            "Requests that got a row; that failed, refusals among them; whose callers left.",
            "reqps",
            [
                Query("rate(mlx_hub_inference_admissions_total[$__rate_interval])", "admitted"),
                Query(_all("mlx_hub_inference_failures_total"), "failed"),
                Query(_all("mlx_hub_inference_cancelled_total"), "callers left"),
            ],
            see="busy-engines",
        ),
    ]


def _all(counter: str) -> str:
    """Sum a counter whose series begin with their first event."""
    return f"sum(rate({counter}[$__rate_interval])) or vector(0)"


def _share(part: str, whole: str) -> str:
    counters = [f"sum(rate(mlx_hub_inference_{n}[$__rate_interval]))" for n in (part, whole)]
    return f"({counters[0]} / ({counters[1]} > 0)) or vector(0)"


def _savings() -> list[Panel]:
    hits = f'cache_lookups_total{{result="hit",{_OF[1:]}'
    return [
        graph(
            "Prompts whose beginning was kept",
            "By answers, and by their tokens: what need not be read again.",
            "percentunit",
            [
                Query(_share(hits, f"cache_lookups_total{_OF}"), "of answers"),
                Query(
                    _share(f"cached_tokens_total{_OF}", f"prompt_tokens_total{_OF}"), "of tokens"
                ),
            ],
            see="prefix-cache",
        ),
        graph(
            "What the cache takes",
            "Keys and values kept of prompts; it is bounded by MLX_HUB_PREFIX_CACHE_BYTES.",
            "bytes",
            [Query(f"mlx_hub_engine_cache_bytes{_ENGINE}", "{{base_model}}")],
            see="prefix-cache",
        ),
        graph(
            "Guesses that held",
            "Of tokens guessed from the text, those that answers took.",
            "percentunit",
            [Query(_share(f"accepted_tokens_total{_OF}", f"drafted_tokens_total{_OF}"), "taken")],
            see="drafting",
        ),
    ]


def _engines() -> list[Panel]:
    def events(name: str) -> str:
        # A series begins with its first event, which increase() does not see.
        now = f"mlx_hub_engine_{name}_total{_ENGINE}"
        return f"sum(clamp_min({now} - ({now} offset 15m or {now} * 0), 0)) or vector(0)"

    return [
        number(
            "Engines in memory",
            "Ready, busy or on their way.",
            "none",
            f'count(mlx_hub_engine_state{{state!="failed",{_ENGINE[1:]} == 1) or vector(0)',
            see="engines",
        ),
        number(
            "Engines that failed",
            "They do not come back by themselves.",
            "none",
            f'sum(mlx_hub_engine_state{{state="failed",{_ENGINE[1:]}) or vector(0)',
            see="enginedown",
            limits=(1,),
        ),
        number(
            "Restarts",
            "In 15 minutes: started in place of one that ended.",
            "none",
            events("restarts"),
            see="enginerestarting",
            limits=(1, 3),
        ),
        number(
            "Stalls",
            "In 15 minutes: ended for want of progress.",
            "none",
            events("stalls"),
            see="enginerestarting",
            limits=(1, 3),
        ),
        number(
            "Evictions",
            "In 15 minutes: made way for another engine or a job, idle too long, or asked to.",
            "none",
            events("evictions"),
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
            quantiles("mlx_hub_engine_batch_rows", _ENGINE, (50, 95)),
            see="busy-engines",
        ),
        graph(
            "Steps a second",
            "An engine with requests and without steps stalls.",
            "ops",
            [
                Query(
                    f"rate(mlx_hub_engine_steps_total{_ENGINE}[$__rate_interval])", "{{base_model}}"
                )
            ],
            see="engines",
        ),
        graph(
            "Time to load",
            "From start to readiness, files verified; of all loads since the service started.",
            "s",
            [
                Query(
                    "histogram_quantile(0.95, sum by (le, base_model) "
                    f"(mlx_hub_engine_load_seconds_bucket{_ENGINE}))",
                    "{{base_model}} p95",
                )
            ],
            see="engines",
        ),
    ]


def _memory() -> list[Panel]:
    return [
        graph(
            "Held and forecast",
            "An engine that goes beyond its forecast takes memory that was promised to others.",
            "bytes",
            [
                Query(f"mlx_hub_engine_active_bytes{_ENGINE}", "{{base_model}} now"),
                Query(f"mlx_hub_engine_peak_bytes{_ENGINE}", "{{base_model}} most"),
                Query(f"mlx_hub_engine_forecast_bytes{_ENGINE}", "{{base_model}} forecast"),
            ],
            see="engineoverforecast",
        ),
        graph(
            "Keys and values",
            "Of the requests in the batch.",
            "bytes",
            [Query(f"mlx_hub_engine_kv_bytes{_ENGINE}", "{{base_model}}")],
            see="memory",
        ),
        graph(
            "Adapters held",
            "Of MLX_HUB_ADAPTER_SLOTS an engine.",
            "none",
            [
                Query(f"mlx_hub_engine_adapters{_ENGINE}", "{{base_model}}"),
                Query("mlx_hub_engine_adapter_slots", "slots"),
            ],
            see="versions-in-engines",
        ),
    ]
