"""What Prometheus sees of training; every label's values are known beforehand."""

from prometheus_client import Counter, Gauge, Histogram

from services.trainer.domain import JobStatus
from services.trainer.reports import Step

JOBS = Counter("mlx_hub_training_jobs", "Jobs that ended, by how.", ["status"])
LOST = Counter("mlx_hub_training_lost_attempts", "Attempts whose worker died.")
RUNNING = Gauge("mlx_hub_training_running", "Jobs that train now.")
STEPS = Counter("mlx_hub_training_steps", "Optimizer steps done.")
TOKENS = Counter("mlx_hub_training_tokens", "Tokens trained on.")
LOSS = Gauge("mlx_hub_training_loss", "Loss of the last step.")
MEMORY = Gauge("mlx_hub_training_peak_memory_bytes", "Peak of the last worker.")
FORECAST = Gauge(
    "mlx_hub_training_forecast_bytes", "What the last worker was forecast to need at its peak."
)
STEP_SECONDS = Histogram(
    "mlx_hub_training_step_seconds",
    "Duration of an optimizer step.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

for _status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
    JOBS.labels(str(_status))


def stepped(step: Step, seconds: float, tokens: int) -> None:
    """Count a step."""
    STEPS.inc()
    TOKENS.inc(tokens)
    LOSS.set(step.loss)
    MEMORY.set(step.peak_memory_bytes)
    STEP_SECONDS.observe(seconds)


def ended(status: JobStatus) -> None:
    """Count a job's end."""
    JOBS.labels(str(status)).inc()
