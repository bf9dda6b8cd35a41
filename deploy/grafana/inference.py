"""Serving: how fast answers come, what is refused, what the engines hold."""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana import engines
from deploy.grafana.panels import Panel, Query, graph, heat, quantiles, sheet, variable

_OF = '{model_id=~"$model",version=~"$version"}'
_VERSION = "{{model_id}}:{{version}}"


def _by(name: str, by: str) -> str:
    return f"sum by ({by}) (rate(mlx_hub_inference_{name}_total{_OF}[$__rate_interval]))"


def _reasons(name: str, label: str) -> Query:
    rate = f"sum by ({label}) (rate(mlx_hub_inference_{name}_total[$__rate_interval]))"
    return Query(f"{rate} or on() vector(0)", f"{{{{{label}}}}}")


def _all(counter: str) -> str:
    """Sum a counter whose series begin with their first event."""
    return f"sum(rate({counter}[$__rate_interval])) or vector(0)"


def _share(part: str, whole: str) -> str:
    counters = [f"sum(rate(mlx_hub_inference_{n}[$__rate_interval]))" for n in (part, whole)]
    return f"({counters[0]} / ({counters[1]} > 0)) or vector(0)"


_SPEED: list[Panel] = [
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
        engines.CHOSEN,
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

_TRAFFIC: list[Panel] = [
    graph(
        "Answers by version",
        "Finished answers.",
        "reqps",
        [Query(_by("answers", "model_id, version"), _VERSION)],
        see="versions-in-engines",
        stacked=True,
    ),
    graph(
        "Answers by how they ended",
        "stop: by themselves; length: cut at max_tokens.",
        "reqps",
        [Query(_by("answers", "finish_reason"), "{{finish_reason}}")],
        see="answers-that-must-fit",
        stacked=True,
    ),
    graph(
        "Tokens",
        "Read from prompts, and generated, of finished answers.",
        "cps",
        [
            Query(f"sum({_by('prompt_tokens', 'version')})", "prompt"),
            Query(f"sum({_by('generated_tokens', 'version')})", "generated"),
        ],
        see="busy-engines",
    ),
]

_LINE: list[Panel] = [
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
        [_reasons("refusals", "reason")],
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

hits = f'cache_lookups_total{{result="hit",{_OF[1:]}'

_SAVINGS: list[Panel] = [
    graph(
        "Prompts whose beginning was kept",
        "By answers, and by their tokens: what need not be read again.",
        "percentunit",
        [
            Query(_share(hits, f"cache_lookups_total{_OF}"), "of answers"),
            Query(_share(f"cached_tokens_total{_OF}", f"prompt_tokens_total{_OF}"), "of tokens"),
        ],
        see="prefix-cache",
    ),
    graph(
        "What the cache takes",
        "Keys and values kept of prompts; it is bounded by MLX_HUB_PREFIX_CACHE_BYTES.",
        "bytes",
        [Query(f"mlx_hub_engine_cache_bytes{engines.CHOSEN}", "{{base_model}}")],
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


def make() -> dashboard.Dashboard:
    """Make the dashboard."""
    rows = [
        ("How fast answers come", _SPEED),
        ("How much", _TRAFFIC),
        ("In line and refused", _LINE),
        ("Prefix cache and drafting", _SAVINGS),
        ("Engines", engines.ENGINES),
        ("Engines' memory", engines.MEMORY),
    ]
    answers = "mlx_hub_inference_answers_total"
    return sheet(
        "inference",
        "Inference",
        "Serving, by model, version and base model.",
        rows,
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
