"""Which base model drafts for which: as the operator says, looked up before an engine starts."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from services.inference.domain import Base
from services.inference.failures import start_failed


def parse(text: object) -> object:
    """Read `base=draft,base=draft`; raises ValueError."""
    if not isinstance(text, str):
        return text
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    found = {base.strip(): draft.strip() for base, _, draft in pairs}
    if len(found) < len(pairs) or not all(name for pair in found.items() for name in pair):
        raise ValueError(
            "not of the form base=draft,base=draft, each a name that `mlx-hub models base` lists, "
            "and each base once"
        )
    return found


class DraftModels:
    """Gives base models their draft models."""

    def __init__(
        self, names: Mapping[str, str], find: Callable[[str], Awaitable[Base | None]]
    ) -> None:
        """Take the draft models' names by those of base models, and who finds a base model."""
        self._names = names
        self._find = find

    async def outfit(self, base: Base) -> Base:
        """Give a base model, or a version with an engine of its own, with its draft model.

        Raises ENGINE_START_FAILED where it can't be that one, and Unavailable while the registry
        does not answer.
        """
        served = base.under or base
        name = self._names.get(served.name)
        if name is None or base.draft:
            return base
        draft = await self._find(name)
        setting = f"MLX_HUB_DRAFT_MODELS says that {name} drafts for {served.name}"
        if draft is None:
            why = f"{setting}, and there is no base model {name}; import it, or name another"
            raise start_failed(base, why)
        if draft.digest == served.digest:
            why = f"{setting}, which is the same model; name a smaller one, or none"
            raise start_failed(base, why)
        return replace(base, draft=draft)
