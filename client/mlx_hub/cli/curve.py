"""What a watched job has shown so far, apart from how it is drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from mlx_hub.cli.output import size
from mlx_hub.registry.v1.evaluation_pb2 import EvaluationSplit
from mlx_hub.trainer.v1.training_event_pb2 import (
    EvaluatedWeights,
    EvaluationResult,
    ThermalPressure,
    TrainingEvent,
)
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob

_BARS = "▁▂▃▄▅▆▇█"


def status_name(job: TrainingJob) -> str:
    """The status in lower case, as the REST API's users write it."""
    return JobStatus.Name(job.status).removeprefix("JOB_STATUS_").lower()


def outcome(job: TrainingJob) -> str:
    """How a job ended, in one line."""
    if job.status == JobStatus.JOB_STATUS_COMPLETED:
        return f"job {job.id} completed: version {job.version} of model {job.model_id}"
    why = f": {job.error.message} [{job.error.reason}]" if job.HasField("error") else ""
    return f"job {job.id} is {status_name(job)}{why}"


def guard_line(event: TrainingEvent) -> str | None:
    """What a job's guards did, in one line; None for other events."""
    match event.WhichOneof("event"):
        case "learning_rate_lowered":
            lowered = event.learning_rate_lowered
            return (
                f"step {lowered.step} was not finite: back to step {lowered.resumed_from_step}, "
                f"learning rate times {lowered.factor:g}"
            )
        case "weights_kept":
            kept = event.weights_kept
            early = f"stopped early at step {kept.step}, " if kept.stopped_early else ""
            return f"{early}kept the weights of step {kept.kept_step}, val loss {kept.val_loss:.3f}"
        case "cooldown_began":
            return f"step {event.cooldown_began.step}  paused to cool down, {_heat(event)}"
        case "cooldown_ended":
            ended = event.cooldown_ended
            why = "still hot" if ended.still_hot else "cool"
            return f"step {ended.step}  paused for {ended.seconds:.0f} s, {why}"
    return None


def _heat(event: TrainingEvent) -> str:
    began = event.cooldown_began
    if began.HasField("celsius"):
        return f"{began.celsius:.0f} °C"
    name = ThermalPressure.Name(began.pressure)
    return f"thermal pressure {name.removeprefix('THERMAL_PRESSURE_').lower()}"


@dataclass
class Curve:
    """Losses by step, and the newest of everything else."""

    job: TrainingJob = field(default_factory=TrainingJob)
    train: dict[int, float] = field(default_factory=dict)
    valid: dict[int, float] = field(default_factory=dict)
    step: int = 0
    total_steps: int = 0
    tokens_per_second: float = 0.0
    note: str = ""
    """What a guard did last."""
    memory: str = ""
    """What the attempt waits for, or what it was forecast to need."""
    evaluations: dict[int, EvaluationResult] = field(default_factory=dict)
    """The newest of the base model and of the trained weights, by EvaluatedWeights."""
    _attempt: int = 0
    _first: tuple[int, float] | None = None
    _seconds_per_step: float = 0.0

    def add(self, event: TrainingEvent) -> None:
        """Take in one event; a later attempt overwrites the steps it repeats."""
        if event.attempt != self._attempt:
            self._attempt, self._first = event.attempt, None
        self.note = guard_line(event) or self.note
        match event.WhichOneof("event"):
            case "job":
                self.job = event.job
                if not self.train:
                    progress = event.job.progress
                    self.step, self.total_steps = progress.step, progress.total_steps
            case "step":
                self._add_step(event)
            case "memory_wait":
                wait = event.memory_wait
                needed, free = size(wait.needed_bytes), size(wait.room.free_bytes)
                self.memory = f"waits for memory: needs {needed}, {free} are free"
            case "forecast":
                self.memory = f"may use {size(event.forecast.total_bytes)} of memory"
            case "validation":
                self.valid[event.validation.step] = event.validation.val_loss
            case "learning_rate_lowered":
                self._go_back(event.learning_rate_lowered.resumed_from_step)
            case "evaluation":
                self.evaluations[event.evaluation.which] = event.evaluation
            case "weights_kept":
                self.step = self.total_steps = event.weights_kept.step

    def _go_back(self, step: int) -> None:
        """Forget the steps behind one: they come again, and otherwise."""
        self.step, self._first = step, None
        for curve in (self.train, self.valid):
            for later in [number for number in curve if number > step]:
                del curve[later]

    def _add_step(self, event: TrainingEvent) -> None:
        step = event.step
        self.step, self.total_steps = step.step, step.total_steps
        self.train[step.step] = step.loss
        self.tokens_per_second = step.tokens_per_second
        now = event.created_at.ToNanoseconds() / 1e9
        if self._first is None:
            self._first = step.step, now
        elif (steps := step.step - self._first[0]) > 0:
            self._seconds_per_step = (now - self._first[1]) / steps

    @property
    def eta(self) -> float:
        """Seconds until the last step, by the steps of this attempt."""
        return max(0, self.total_steps - self.step) * self._seconds_per_step

    def numbers(self) -> str:
        """Where the job is, in one line."""
        if not self.total_steps:
            return "before the first step"
        parts = [f"step {self.step}/{self.total_steps}"]
        if self.train:
            parts.append(f"loss {_last(self.train):.3f}")
        if self.valid:
            parts.append(f"val loss {_last(self.valid):.3f}")
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:.0f} tok/s")
        if self._seconds_per_step:
            minutes, seconds = divmod(round(self.eta), 60)
            parts.append(f"ETA {minutes}:{seconds:02}")
        return "  ".join(parts)


def evaluated(result: EvaluationResult) -> str:
    """What an evaluation found, in one line."""
    who = EvaluatedWeights.Name(result.which).removeprefix("EVALUATED_WEIGHTS_").lower()
    split = EvaluationSplit.Name(result.split).removeprefix("EVALUATION_SPLIT_").lower()
    parts = [f"{who} on {result.rows} {split} rows", f"loss {result.loss:.3f}"]
    if result.HasField("perplexity"):
        parts.append(f"perplexity {result.perplexity:.4g}")
    return "  ".join(parts)


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
