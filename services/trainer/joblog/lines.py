"""A line of a job's log, and how it stands in the file."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Level(StrEnum):
    """How much a line matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Source(StrEnum):
    """Who said it."""

    TRAINER = "trainer"
    WORKER = "worker"


@dataclass(frozen=True)
class Draft:
    """What is to become a line; `taken` is where its worker's output goes on behind it."""

    message: str
    level: Level = Level.INFO
    source: Source = Source.TRAINER
    created_at: datetime | None = None
    taken: int | None = None


@dataclass(frozen=True)
class Line:
    """One line; `sequence` rises by one, across attempts."""

    sequence: int
    attempt: int
    created_at: datetime
    draft: Draft


def encode(line: Line) -> bytes:
    """Render a line, with its end."""
    draft = line.draft
    fields = {
        "sequence": line.sequence,
        "time": line.created_at.isoformat(),
        "attempt": line.attempt,
        "level": str(draft.level),
        "source": str(draft.source),
        "message": draft.message,
    }
    if draft.taken is not None:
        fields["taken"] = draft.taken
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def decode(text: bytes) -> Line:
    """Read a line that `encode` rendered."""
    fields = json.loads(text)
    moment = datetime.fromisoformat(fields["time"])
    level, source = Level(fields["level"]), Source(fields["source"])
    draft = Draft(fields["message"], level, source, moment, fields.get("taken"))
    return Line(fields["sequence"], fields["attempt"], moment, draft)


def now() -> datetime:
    """Give the time of a line that has none of its own."""
    return datetime.now(UTC)
