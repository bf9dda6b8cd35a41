"""What a worker reports of a running job, and how far that says the job is."""

from dataclasses import asdict, dataclass, replace

from services.trainer.forecast import Forecast


@dataclass(frozen=True)
class Step:
    """One optimizer step was done."""

    step: int
    total_steps: int
    epoch: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    peak_memory_bytes: float
    smoothed_loss: float | None = None
    eta_seconds: float | None = None
    grad_norm: float | None = None
    trained_tokens: float = 0.0


@dataclass(frozen=True)
class Validation:
    """The held-out rows were scored."""

    step: int
    val_loss: float


@dataclass(frozen=True)
class Checkpoint:
    """A later attempt can resume from here."""

    step: int


@dataclass(frozen=True)
class RateLowered:
    """`step` was not finite; training went back and goes on at the rates times `factor`."""

    step: int
    resumed_from_step: int
    factor: float


@dataclass(frozen=True)
class WeightsKept:
    """Training ended with `step`; the weights of `kept_step` are published."""

    step: int
    kept_step: int
    val_loss: float
    stopped_early: bool


@dataclass(frozen=True)
class CooldownBegan:
    """Training pauses; a sensor has a word for one of the two."""

    step: int
    celsius: float | None
    pressure: str | None


@dataclass(frozen=True)
class CooldownEnded:
    """Training goes on, or the attempt ends; `still_hot` after the longest pause there may be."""

    step: int
    seconds: float
    still_hot: bool


type Guarded = RateLowered | WeightsKept | CooldownBegan | CooldownEnded


@dataclass(frozen=True)
class MemoryWait:
    """The attempt can't begin: its memory isn't free yet."""

    needed_bytes: int
    budget_bytes: int
    held_bytes: int
    free_bytes: int
    at_most_seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Held-out rows were scored by the base model or by what was trained."""

    which: str
    """`base` or `version`."""
    split: str
    """`valid` or `test`."""
    loss: float
    rows: int
    held_out_rows: int
    tokens: int


type Report = Step | Validation | Checkpoint | Evaluation | Guarded | MemoryWait | Forecast


@dataclass(frozen=True)
class Progress:
    """How far a job is; the last attempt's word."""

    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float = 0.0
    val_loss: float | None = None
    tokens_per_second: float = 0.0
    peak_memory_bytes: float = 0.0
    smoothed_loss: float | None = None
    eta_seconds: float | None = None
    grad_norm: float | None = None
    trained_tokens: float = 0.0

    def after(self, event: object) -> "Progress":
        """Fold in what the worker reported."""
        match event:
            case Step():
                told = asdict(event)
                del told["learning_rate"]
                return replace(self, **told)
            case Validation():
                return replace(self, val_loss=event.val_loss)
            case RateLowered():
                return replace(self, step=event.resumed_from_step)
            case WeightsKept():
                # Nothing is left to do; what is published has this loss.
                return replace(self, total_steps=event.step, val_loss=event.val_loss)
        return self

    def resting(self) -> "Progress":
        """Take back what is true of running jobs only."""
        return replace(self, eta_seconds=None)


NO_PROGRESS = Progress()
