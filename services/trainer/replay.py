"""What a replay is compared by, in pure functions: losses step by step, hashes, the environment.

Losses are compared as they are stored, bit by bit: a tolerance would have to be guessed, and a run
that is only nearly the same is another run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

type Losses = Mapping[int, float]

BASE, DATASET = "base_digest", "dataset_digest"
RECIPE = "recipe."
THREADS = "blas_threads"
_DIRTY = "code_dirty"


class Outcome(StrEnum):
    """What a replay says in one word."""

    SAME = "same"
    DIFFERS = "differs"
    DIFFERS_AFTER_LAST_LOSS = "differs_after_last_loss"


@dataclass(frozen=True)
class Difference:
    """One thing that was otherwise; empty is not recorded."""

    name: str
    then: str
    now: str


@dataclass(frozen=True)
class Parting:
    """The first step at which two runs differ; a run that had no such step has no loss there."""

    step: int
    original: float | None
    replayed: float | None


@dataclass(frozen=True)
class Verdict:
    """What a replay found."""

    outcome: Outcome
    step: int
    original_loss: float | None
    replayed_loss: float | None
    original_digest: str
    replayed_digest: str
    differing_files: tuple[str, ...]
    compared_steps: int
    steps: int
    differences: tuple[Difference, ...]

    def __post_init__(self) -> None:
        """Take what JSON holds for the types that it has no word for."""
        object.__setattr__(self, "outcome", Outcome(self.outcome))
        object.__setattr__(self, "differing_files", tuple(self.differing_files))
        found = (d if isinstance(d, Difference) else Difference(**d) for d in self.differences)
        object.__setattr__(self, "differences", tuple(found))


@dataclass(frozen=True)
class Run:
    """One of the two runs: its stored losses, its last step, its files by name, its surroundings.

    `total` is 0 while it is not known yet. `digest` is empty and `files` too where there are none.
    """

    losses: Losses
    total: int
    digest: str
    files: Mapping[str, str]
    facts: Mapping[str, str]

    @property
    def threads(self) -> int:
        """Give the threads that it computed by; 0 where that is not recorded."""
        told = self.facts.get(THREADS, "")
        return int(told) if told.isdecimal() else 0


def parting(original: Losses, steps: int, replayed: Losses, total: int) -> Parting | None:
    """Find the first step that differs, among those that the replay has reported so far.

    A run that is longer than the other one differs behind the other's last step, at the latest.
    A step of which a loss was not stored is passed over.
    """
    for step in sorted(replayed):
        if step > steps:
            return Parting(step, None, replayed[step])
        if step in original and original[step] != replayed[step]:
            return Parting(step, original[step], replayed[step])
    if total and total < steps and max(replayed, default=0) >= total:
        return Parting(total + 1, original.get(total + 1), None)
    return None


def covered(losses: Losses) -> int:
    """Give the last step up to which every loss is stored."""
    step = 0
    while step + 1 in losses:
        step += 1
    return step


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[Difference, ...]:
    """List what is not as it was, by name.

    A part of the recipe that was not recorded did not exist then, and is left out. A dirty checkout
    is never known to be the same.
    """
    names = {name for name in {*then, *now} if name in then or not name.startswith(RECIPE)}
    found = (Difference(name, then.get(name, ""), now.get(name, "")) for name in sorted(names))
    return tuple(d for d in found if d.then != d.now or (d.name, d.now) == (_DIRTY, "true"))


def changed_inputs(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Name what a replay can't do without and is not what it was."""
    labels = {BASE: "base model", DATASET: "dataset"}
    return tuple(label for name, label in labels.items() if then.get(name) != now.get(name))


def judge(original: Run, replayed: Run) -> Verdict:
    """Say what came of a replay that ended, or that stopped where it parted."""
    parted = parting(original.losses, original.total, replayed.losses, replayed.total)
    same = original.digest == replayed.digest
    if parted is not None:
        outcome = Outcome.DIFFERS
    else:
        outcome = Outcome.SAME if same else Outcome.DIFFERS_AFTER_LAST_LOSS
    after = outcome is Outcome.DIFFERS_AFTER_LAST_LOSS
    return Verdict(
        outcome=outcome,
        step=parted.step if parted else 0,
        original_loss=parted.original if parted else None,
        replayed_loss=parted.replayed if parted else None,
        original_digest=original.digest,
        replayed_digest=replayed.digest,
        differing_files=_differing(original.files, replayed.files) if after else (),
        compared_steps=len(set(original.losses) & set(replayed.losses)),
        steps=original.total,
        differences=differences(original.facts, replayed.facts),
    )


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    names: Iterable[str] = sorted({*then, *now})
    return tuple(name for name in names if then.get(name) != now.get(name))
