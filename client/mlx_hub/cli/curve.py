"""What a watched job has shown so far, apart from how it is drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from mlx_hub.cli import verdict
from mlx_hub.cli.output import size
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent, TrainingStep
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob, TrainingProgress

_BARS = "▁▂▃▄▅▆▇█"


def status_name(job: TrainingJob) -> str:
    """The status in lower case, as the REST API's users write it."""
    return JobStatus.Name(job.status).removeprefix("JOB_STATUS_").lower()


def outcome(job: TrainingJob) -> str:
    """How a job ended, in one line."""
    if job.HasField("verdict"):
        return f"job {job.id} completed: {verdict.in_full(job)}"
    if job.status == JobStatus.JOB_STATUS_COMPLETED:
        return f"job {job.id} completed: version {job.version} of model {job.model_id}"
    why = f": {job.error.message} [{job.error.reason}]" if job.HasField("error") else ""
    return f"job {job.id} is {status_name(job)}{why}"


@dataclass
class Curve:
    """Losses by step, and the newest of everything else."""

    job: TrainingJob = field(default_factory=TrainingJob)
    train: dict[int, float] = field(default_factory=dict)
    valid: dict[int, float] = field(default_factory=dict)
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    smoothed_loss: float | None = None
    learning_rate: float = 0.0
    tokens_per_second: float = 0.0
    peak_memory_bytes: float = 0.0
    eta: float | None = None
    """Seconds until the last step, as the hub has it."""

    def add(self, event: TrainingEvent) -> None:
        """Take in one event; a later attempt overwrites the steps it repeats."""
        match event.WhichOneof("event"):
            case "job":
                self.job = event.job
                if not self.train:
                    self._goes_on_from(event.job.progress)
            case "step":
                self.train[event.step.step] = event.step.loss
                self.learning_rate = event.step.learning_rate
                self._goes_on_from(event.step)
            case "validation":
                self.valid[event.validation.step] = event.validation.val_loss
            case "learning_rate_lowered":
                self._go_back(event.learning_rate_lowered.resumed_from_step)
            case "weights_kept":
                self.step = self.total_steps = event.weights_kept.step

    def _go_back(self, step: int) -> None:
        """Forget the steps behind one: they come again, and otherwise."""
        self.step, self.eta = step, None
        for curve in (self.train, self.valid):
            for later in [number for number in curve if number > step]:
                del curve[later]

    def _goes_on_from(self, told: TrainingStep | TrainingProgress) -> None:
        self.step, self.total_steps, self.epoch = told.step, told.total_steps, told.epoch
        self.smoothed_loss = told.smoothed_loss if told.HasField("smoothed_loss") else None
        self.eta = told.eta_seconds if told.HasField("eta_seconds") else None
        self.tokens_per_second = told.tokens_per_second
        self.peak_memory_bytes = told.peak_memory_bytes

    def numbers(self) -> str:
        """Where the job is, in one line."""
        if not self.total_steps:
            return "before the first step"
        parts = [f"step {self.step}/{self.total_steps}"]
        if self.epoch:
            parts.append(f"epoch {self.epoch}")
        if self.train:
            parts.append(f"loss {_last(self.train):.3f}")
        if self.smoothed_loss is not None:
            parts.append(f"smoothed {self.smoothed_loss:.3f}")
        if self.valid:
            parts.append(f"val loss {_last(self.valid):.3f}")
        if self.learning_rate:
            parts.append(f"rate {self.learning_rate:.3g}")
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.0f} tok/s")
        if self.peak_memory_bytes:
            parts.append(size(self.peak_memory_bytes))
        if self.eta is not None:
            parts.append(f"ETA {_clock(self.eta)}")
        return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _last(values: Mapping[int, float]) -> float:
    return values[max(values)]


def sparkline(values: Mapping[int, float], width: int) -> str:
    """A curve in one line of block characters, each the mean of its share of the steps."""
    ordered = [values[step] for step in sorted(values)]
    means = list(_means(ordered, min(width, len(ordered))))
    if not means:
        return ""
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _means(values: list[float], buckets: int) -> Iterator[float]:
    edges = [index * len(values) // buckets for index in range(buckets + 1)] if buckets else []
    for start, end in pairwise(edges):
        yield sum(values[start:end]) / (end - start)
