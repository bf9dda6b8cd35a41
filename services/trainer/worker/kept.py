"""What the base model scored and answered before step 1, kept beside a job's checkpoints.

It is written before the first of them, so a resumed job finds it; without it the job starts over.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from services.chassis.durable import sync_path

log = logging.getLogger(__name__)

NAME = "base.json"


@dataclass(frozen=True)
class Answer:
    """What a model wrote; `cut` when it would have gone on."""

    text: str
    tokens: int
    cut: bool


@dataclass(frozen=True)
class Found:
    """What one set of weights scored, if it was to, and answered."""

    loss: float | None
    tokens: int
    answers: tuple[Answer, ...]


class Kept:
    """One job's file; the fingerprint ties it to its recipe, base model and data."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / NAME
        self._fingerprint = fingerprint

    def read(self) -> Found | None:
        """Give what was kept, or None."""
        try:
            return self._parse(self._path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is passed over: %s", NAME, error)
            return None

    def _parse(self, text: str) -> Found:
        body = json.loads(text)
        if body.pop("fingerprint") != self._fingerprint:
            raise ValueError("it belongs to another recipe, base model or dataset")
        answers = tuple(Answer(**answer) for answer in body.pop("answers"))
        return Found(**body, answers=answers)

    def write(self, found: Found) -> None:
        """Keep it, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".part")
        fresh.write_text(json.dumps({"fingerprint": self._fingerprint, **asdict(found)}))
        sync_path(fresh)
        fresh.replace(self._path)
        sync_path(self._path.parent)
