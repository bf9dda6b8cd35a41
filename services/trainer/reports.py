"""What a worker reports of a running job, and how far that says the job is."""

from dataclasses import asdict, dataclass, replace


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


type Report = Step | Validation | Checkpoint


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
        return self

    def resting(self) -> "Progress":
        """Take back what is true of running jobs only."""
        return replace(self, eta_seconds=None)


NO_PROGRESS = Progress()
