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


type Report = Step | Validation | Checkpoint | Evaluation


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


NO_PROGRESS = Progress()
