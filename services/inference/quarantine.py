"""Requests that were running when an engine ended: who is there twice is refused for a while."""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.chassis.errors import FailedPrecondition
from services.inference.domain import Adapter, Base, Generation
from services.inference.messages import request_of

type Asked = tuple[Generation, Adapter | None]

DEATHS = 2
REMEMBERED = 256


@dataclass
class Suspect:
    """A request and the deaths of engines that it was there for; its text isn't kept."""

    fingerprint: str
    base_model: str
    deaths: int
    reason: str
    at: float
    """On the quarantine's clock."""


class Quarantine:
    """Remembers suspects for `seconds` after the last death; with 0 it suspects nobody.

    Whatever ran beside the request at fault is suspected as well: where neighbours are the same
    both times, they are refused with it.
    """

    def __init__(self, seconds: float = 600, clock: Callable[[], float] = time.monotonic) -> None:
        """Take how long a suspicion lasts."""
        self._seconds = seconds
        self._clock = clock
        self._suspects: dict[str, Suspect] = {}

    def check(self, base: Base, generation: Generation, adapter: Adapter | None) -> None:
        """Raise REQUEST_QUARANTINED for a request that was there for too many deaths."""
        if not self._suspects:
            return
        suspect = self._suspects.get(fingerprint(base, generation, adapter))
        left = self.refused_for(suspect) if suspect else 0.0
        if suspect and left:
            raise FailedPrecondition(
                "REQUEST_QUARANTINED",
                f"this request was running in {suspect.deaths} engines of {base.name} that ended; "
                f"it is refused for {left:.0f} s: change it, or ask again after that",
                metadata={
                    "base_model": base.name,
                    "fingerprint": suspect.fingerprint,
                    "deaths": str(suspect.deaths),
                    "seconds": f"{left:.0f}",
                },
            )

    def died(self, base: Base, running: Iterable[Asked], reason: str) -> None:
        """Note what an engine was working on when it ended unasked."""
        if not self._seconds:
            return
        now = self._clock()
        for name in {fingerprint(base, generation, adapter) for generation, adapter in running}:
            known = self._suspects.pop(name, None)
            deaths = known.deaths + 1 if known and self._left(known) else 1
            self._suspects[name] = Suspect(name, base.name, deaths, reason, now)
        for name in list(self._suspects)[:-REMEMBERED]:
            del self._suspects[name]

    def suspects(self) -> list[Suspect]:
        """Give those that are remembered, the latest first."""
        self._suspects = {name: s for name, s in self._suspects.items() if self._left(s)}
        return list(reversed(self._suspects.values()))

    def refused_for(self, suspect: Suspect) -> float:
        """Give the seconds for which it is refused; 0 if it is not."""
        return self._left(suspect) if suspect.deaths >= DEATHS else 0.0

    def age(self, suspect: Suspect) -> float:
        """Give the seconds since the last death."""
        return self._clock() - suspect.at

    def _left(self, suspect: Suspect) -> float:
        return max(0.0, self._seconds - self.age(suspect))


def fingerprint(base: Base, generation: Generation, adapter: Adapter | None) -> str:
    """Hash what an engine is asked for, without the seed, which may be drawn anew each time."""
    request = request_of(generation)
    request.ClearField("seed")
    whole = hashlib.sha256(request.SerializeToString(deterministic=True))
    whole.update(f"{base.digest}\0{adapter.digest if adapter else ''}".encode())
    return whole.hexdigest()
