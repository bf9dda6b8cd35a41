"""Which base model drafts for which: as the operator says, looked up before an engine starts."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from services.chassis.errors import HubError
from services.chassis.names import NAME
from services.inference.domain import Base
from services.inference.failures import start_failed

log = logging.getLogger(__name__)

ASK_PAUSE_S = 2.0

type Bases = Callable[[], Awaitable[Mapping[str, Base]]]
"""Gives all base models by their names; raises Unavailable while the registry does not answer."""


def parse(text: object) -> object:
    """Read `base=draft,base=draft`; raises ValueError."""
    if not isinstance(text, str):
        return text
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        base, draft = (name.strip() for name in part.partition("=")[::2])
        if not all(re.fullmatch(NAME, name) for name in (base, draft)):
            raise ValueError(
                f"{part!r} is not of the form base=draft, each a name that `mlx-hub models base` "
                "lists"
            )
        if base in found:
            raise ValueError(f"{base} is there twice; name one draft model for it")
        if base == draft:
            raise ValueError(f"{base} can't draft for itself; name a smaller base model")
        found[base] = draft
    return found


@dataclass(frozen=True)
class Pair:
    """What the setting says of one base model, and what speaks against it."""

    base: str
    draft: str
    reason: str = ""
    """For people; empty where both are there."""
    refused: bool = False
    """Whether the base model's engine does not start because of it."""


class DraftModels:
    """Gives base models their draft models."""

    def __init__(self, names: Mapping[str, str], bases: Bases) -> None:
        """Take the draft models' names by those of base models, and who knows all of these."""
        self._names = names
        self._bases = bases

    async def outfit(self, base: Base) -> Base:
        """Give a base model, or a version with an engine of its own, with its draft model.

        Raises ENGINE_START_FAILED where it can't be that one, and Unavailable while the registry
        does not answer.
        """
        served = base.under or base
        name = self._names.get(served.name)
        if name is None or base.draft:
            return base
        known = {**await self._bases(), served.name: served}
        if why := _objection(served.name, name, known):
            raise start_failed(base, why)
        return replace(base, draft=known[name])

    async def pairs(self) -> list[Pair]:
        """Tell who drafts for whom; with what speaks against it now, or that nobody knows."""
        try:
            return await self._judged()
        except HubError as error:
            why = f"nobody could look whether both are base models: {error.message}"
            return [Pair(base, draft, why) for base, draft in self._names.items()]

    async def warn(self) -> None:
        """Log what speaks against the setting, once the registry can be asked.

        A base model may still be imported: a name that there is none of is no reason to end.
        """
        again = AsyncRetrying(retry=retry_if_exception_type(HubError), wait=wait_fixed(ASK_PAUSE_S))
        judged: list[Pair] = await again(self._judged)
        for pair in judged:
            if pair.reason:
                log.warning("%s", pair.reason)

    async def _judged(self) -> list[Pair]:
        if not self._names:
            return []
        known = await self._bases()
        return [_judge(*pair, known) for pair in self._names.items()]


def _judge(base: str, draft: str, known: Mapping[str, Base]) -> Pair:
    reason = _objection(base, draft, known)
    return Pair(base, draft, reason, refused=bool(reason) and base in known)


def _objection(base: str, draft: str, known: Mapping[str, Base]) -> str:
    """Say why one can't draft for the other; nothing if it may."""
    setting = f"MLX_HUB_DRAFT_MODELS says that {draft} drafts for {base}"
    if missing := [name for name in (base, draft) if name not in known]:
        names = " and no base model ".join(missing)
        return f"{setting}, and there is no base model {names}; import it, or name another"
    if known[base].digest == known[draft].digest:
        return f"{setting}, which is the same model; name a smaller one, or none"
    return ""
