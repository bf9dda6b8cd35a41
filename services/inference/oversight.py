"""What an engine is watched by, and what it is given to work on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.inference.domain import Loading
from services.inference.inbox import Inbox
from services.inference.quarantine import Asked, Quarantine


@dataclass(frozen=True)
class Oversight:
    """When an engine counts as stalled, and who hears of its loading and of what it died of."""

    stall_seconds: float = 60
    quarantine: Quarantine = field(default_factory=Quarantine)
    on_loading: Callable[[Loading], None] = lambda loading: None


@dataclass(frozen=True)
class Open:
    """A request that the engine has, and where its events go."""

    asked: Asked | None = None
    """What may have ended the engine; None if it is no generation."""
    inbox: Inbox = field(default_factory=Inbox)
