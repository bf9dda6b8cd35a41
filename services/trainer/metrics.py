"""What Prometheus sees of training; every label's values are known beforehand."""

from math import nan

from prometheus_client import Counter, Gauge, Histogram

from services.trainer.domain import JobStatus
from services.trainer.reports import (
    CooldownBegan,
    CooldownEnded,
    Guarded,
    RateLowered,
    Step,
    WeightsKept,
)

JOBS = Counter("mlx_hub_training_jobs", "Jobs that ended, by how.", ["status"])
LOST = Counter("mlx_hub_training_lost_attempts", "Attempts whose worker died.")
LOST_LEASES = Counter(
    "mlx_hub_training_lost_leases",
    "Attempts given up because their lease had run out or could not be extended.",
)
RESCUED = Counter(
    "mlx_hub_training_rescued", "Attempts at jobs that had lost a worker or a trainer before."
)
QUEUED = Gauge(
    "mlx_hub_training_queued", "Jobs in the queue, those that pause after a lost attempt too."
)
PARKED = Gauge("mlx_hub_training_parked", "Jobs that failed because all their attempts were lost.")
OLDEST = Gauge(
    "mlx_hub_training_queue_oldest_seconds", "How long the first of the queued jobs has been due."
)
RUNNING = Gauge("mlx_hub_training_running", "Jobs that train now.")
STEPS = Counter("mlx_hub_training_steps", "Optimizer steps done.")
TOKENS = Counter("mlx_hub_training_tokens", "Tokens trained on.")
LOSS = Gauge("mlx_hub_training_loss", "Loss of the last step.")
VALIDATION_LOSS = Gauge(
    "mlx_hub_training_validation_loss", "Loss of the held-out rows when they were last scored."
)
GRADIENT_NORM = Gauge(
    "mlx_hub_training_gradient_norm", "Norm of the last step's gradient, before it was clipped."
)
LEARNING_RATE = Gauge("mlx_hub_training_learning_rate", "Learning rate of the last step.")
SPEED = Gauge(
    "mlx_hub_training_tokens_per_second", "Trained tokens of the last step by its duration."
)
MEMORY = Gauge("mlx_hub_training_peak_memory_bytes", "Peak of the last worker.")
LOWERED = Counter(
    "mlx_hub_training_rate_lowered", "Learning rates lowered after a step that was not finite."
)
STOPPED_EARLY = Counter(
    "mlx_hub_training_stopped_early", "Trainings that ended before their last epoch."
)
COOLING = Gauge("mlx_hub_training_cooling", "Jobs that pause to cool down now.")
COOLDOWN_SECONDS = Counter(
    "mlx_hub_training_cooldown_seconds", "Time spent in pauses to cool down."
)
FORECAST = Gauge(
    "mlx_hub_training_forecast_bytes", "What the last worker was forecast to need at its peak."
)
STEP_SECONDS = Histogram(
    "mlx_hub_training_step_seconds",
    "Duration of an optimizer step.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
CHECKPOINT_SECONDS = Histogram(
    "mlx_hub_training_checkpoint_seconds",
    "Duration of writing a checkpoint.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

for _gauge in (LOSS, VALIDATION_LOSS, GRADIENT_NORM, LEARNING_RATE, SPEED):
    _gauge.set(nan)  # 0 would be a value
for _status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
    JOBS.labels(str(_status))


def stepped(step: Step, seconds: float, tokens: int) -> None:
    """Count a step."""
    STEPS.inc()
    TOKENS.inc(tokens)
    LOSS.set(step.loss)
    GRADIENT_NORM.set(nan if step.grad_norm is None else step.grad_norm)
    LEARNING_RATE.set(step.learning_rate)
    SPEED.set(step.tokens_per_second)
    MEMORY.set(step.peak_memory_bytes)
    STEP_SECONDS.observe(seconds)


def guarded(report: Guarded) -> None:
    """Count what a job's guards did."""
    match report:
        case RateLowered():
            LOWERED.inc()
        case WeightsKept():
            STOPPED_EARLY.inc(report.stopped_early)
        case CooldownBegan():
            COOLING.set(1)
        case CooldownEnded():
            COOLING.set(0)
            COOLDOWN_SECONDS.inc(report.seconds)


def ended(status: JobStatus) -> None:
    """Count a job's end."""
    JOBS.labels(str(status)).inc()
