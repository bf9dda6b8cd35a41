"""Training: the queue, the running job's steps, what is lost and found again."""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.panels import Panel, Query, graph, heat, number, quantiles, sheet


def _hourly(name: str) -> str:
    return f"increase(mlx_hub_training_{name}_total[1h])"


_QUEUE: list[Panel] = [
    number(
        "Training",
        "Jobs that train now.",
        "none",
        "mlx_hub_training_running",
        see="logs-of-jobs",
    ),
    number(
        "Queued",
        "Jobs that are due.",
        "none",
        "mlx_hub_training_queued",
        see="jobqueuestuck",
    ),
    number(
        "First in line since",
        "How long the first of them has been due.",
        "s",
        "mlx_hub_training_queue_oldest_seconds",
        see="jobqueuestuck",
    ),
    number(
        "Parked",
        "Jobs that pause after a lost attempt.",
        "none",
        "mlx_hub_training_parked",
        see="jobs-that-lose-their-worker",
        limits=(1,),
    ),
    number(
        "Cooling down",
        "Jobs that pause because the machine is too hot.",
        "none",
        "mlx_hub_training_cooling",
        see="cooling-down",
        limits=(1,),
    ),
    number(
        "Memory waited for",
        "By a job that does not fit yet.",
        "bytes",
        "mlx_hub_memory_wanted_bytes",
        see="memorybudgetshort",
        limits=(1,),
    ),
]

_JOB: list[Panel] = [
    graph(
        "Loss",
        "Of the last step, and of the held-out rows when they were last scored.",
        "none",
        [
            Query("mlx_hub_training_loss", "training"),
            Query("mlx_hub_training_validation_loss", "validation"),
        ],
        see="a-job-that-is-not-finite-or-worsens",
    ),
    graph(
        "Norm of the gradient",
        "Before it is clipped; a sudden rise comes before a loss that is not finite.",
        "none",
        [Query("mlx_hub_training_gradient_norm", "norm")],
        see="a-job-that-is-not-finite-or-worsens",
    ),
    graph(
        "Learning rate",
        "Warm-up, schedule, and what a guard lowered.",
        "sci",
        [Query("mlx_hub_training_learning_rate", "rate")],
        see="a-job-that-is-not-finite-or-worsens",
    ),
    graph(
        "Memory and forecast",
        "The most that the last worker held, beside what it was forecast to need.",
        "bytes",
        [
            Query("mlx_hub_training_peak_memory_bytes", "most held"),
            Query("mlx_hub_training_forecast_bytes", "forecast"),
        ],
        see="memory",
        span=12,
    ),
    graph(
        "Steps",
        "Optimizer steps a second.",
        "ops",
        [Query("rate(mlx_hub_training_steps_total[$__rate_interval])", "steps")],
        see="logs-of-jobs",
        span=12,
    ),
]

_SPEED: list[Panel] = [
    graph(
        "Tokens a second",
        "Of the last step, and over time, pauses and scoring included.",
        "cps",
        [
            Query("mlx_hub_training_tokens_per_second", "last step"),
            Query("rate(mlx_hub_training_tokens_total[$__rate_interval])", "over time"),
        ],
        see="cooling-down",
    ),
    graph(
        "Duration of a step",
        "Longer rows take longer steps.",
        "s",
        quantiles("mlx_hub_training_step_seconds"),
        see="memory",
    ),
    heat(
        "Duration of a step, spread",
        "Two bands are two lengths of batch.",
        "s",
        "mlx_hub_training_step_seconds",
        see="memory",
    ),
    graph(
        "Writing a checkpoint",
        "Training stands still meanwhile.",
        "s",
        quantiles("mlx_hub_training_checkpoint_seconds", "", (50, 95)),
        see="a-full-disk",
    ),
    graph(
        "Time spent cooling down",
        "Share of the time.",
        "percentunit",
        [Query("rate(mlx_hub_training_cooldown_seconds_total[$__rate_interval])", "pauses")],
        see="cooling-down",
    ),
    graph(
        "Jobs that ended",
        "In an hour, by how.",
        "none",
        [Query("sum by (status) (increase(mlx_hub_training_jobs_total[1h]))", "{{status}}")],
        see="jobs-that-failed",
    ),
]

_LOSSES: list[Panel] = [
    number(
        "Workers lost",
        "Attempts in an hour whose worker died.",
        "none",
        _hourly("lost_attempts"),
        see="workersdie",
        limits=(1, 3),
    ),
    number(
        "Leases lost",
        "Attempts in an hour that were given up: the trainer could not tell the database "
        "in time that it lives.",
        "none",
        _hourly("lost_leases"),
        see="leaselost",
        limits=(1, 3),
    ),
    number(
        "Jobs rescued",
        "Attempts in an hour that went on after a loss.",
        "none",
        _hourly("rescued"),
        see="jobs-that-lose-their-worker",
    ),
    number(
        "Learning rates lowered",
        "In an hour, after a step that was not finite.",
        "none",
        _hourly("rate_lowered"),
        see="a-job-that-is-not-finite-or-worsens",
        limits=(1,),
    ),
    number(
        "Stopped early",
        "In an hour, for want of improvement.",
        "none",
        _hourly("stopped_early"),
        see="a-job-that-is-not-finite-or-worsens",
    ),
    number(
        "Jobs failed",
        "In an hour.",
        "none",
        'increase(mlx_hub_training_jobs_total{status="failed"}[1h])',
        see="jobs-that-failed",
        limits=(1, 3),
    ),
]


def make() -> dashboard.Dashboard:
    """Make the dashboard."""
    return sheet(
        "training",
        "Training",
        "The queue and the job that trains; one job at a time.",
        [
            ("Queue", _QUEUE),
            ("The job that trains, or trained last", _JOB),
            ("Speed", _SPEED),
            ("What went wrong", _LOSSES),
        ],
    )
