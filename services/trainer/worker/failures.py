"""The two ways a run ends early on purpose."""


class TrainingFailed(Exception):
    """The job can't succeed by trying again; `reason` is an ErrorReason name without its prefix."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Stopped(Exception):
    """The supervisor asked the run to stop; `step` is the last one done."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


def untrainable(message: str) -> TrainingFailed:
    """Say that this data or recipe can't train this model."""
    return TrainingFailed("UNTRAINABLE", message)
