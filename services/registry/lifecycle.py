"""How models and versions may change after they came to be; facts and rules only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import FailedPrecondition, Invalid
from services.registry.domain import (
    BASE,
    LATEST,
    TRANSITIONS,
    EventType,
    Model,
    Version,
    VersionStatus,
    version_number,
)

CHAMPION = "champion"
MUTABLE = ("description", "tags")
# Versions go there by a call; every other status is the registry's own finding.
MOVES = {VersionStatus.ARCHIVED: EventType.ARCHIVED, VersionStatus.READY: EventType.RESTORED}


@dataclass(frozen=True)
class ModelChange:
    """The new values of some fields of a model."""

    model_id: int
    fields: Mapping[str, Any]

    def changed(self, model: Model) -> dict[str, Any]:
        """Give the fields whose value really becomes another."""
        return {name: v for name, v in self.fields.items() if getattr(model, name) != v}


def model_change(
    model_id: int, mask: Iterable[str] | None, given: Mapping[str, Any]
) -> ModelChange:
    """Choose what a request changes: the masked fields, or without a mask the given ones.

    A masked field that is not given becomes empty; a given one that is not masked is refused,
    since it would be dropped in silence.
    """
    masked = list(given if mask is None else mask)
    if unknown := [path for path in masked if path not in MUTABLE]:
        raise Invalid(
            "INVALID_FIELD",
            f"update_mask names {unknown[0]!r}; only {' and '.join(MUTABLE)} can be changed",
            field=unknown[0],
        )
    if dropped := [name for name in given if name not in masked]:
        raise Invalid(
            "INVALID_FIELD", f"{dropped[0]} is given but not in update_mask", field=dropped[0]
        )
    if not masked:
        raise Invalid(
            "INVALID_FIELD",
            f"nothing to change: give {' or '.join(MUTABLE)}, or name what to empty in update_mask",
            field="update_mask",
        )
    empty = {"description": "", "tags": {}}
    return ModelChange(model_id, {name: given.get(name, empty[name]) for name in masked})


def own_alias(alias: str, field: str = "alias") -> str:
    """Give an alias that a caller may move, `champion` for none; refuse a reserved one."""
    name = alias or CHAMPION
    if name in (LATEST, BASE) or version_number(name) is not None:
        raise Invalid(
            "INVALID_FIELD",
            f"the alias {name!r} is reserved: {LATEST}, {BASE} and numbers name something already",
            field=field,
        )
    return name


def move(version: Version, target: VersionStatus) -> EventType | None:
    """Tell what archiving or restoring a version is in its history; None if it is there already."""
    if version.status is target:
        return None
    if target not in TRANSITIONS[version.status] or version.status is VersionStatus.PENDING:
        raise FailedPrecondition(
            "VERSION_NOT_READY",
            f"version {version.version} is {version.status} and can't become {target}",
            metadata={"version": str(version.version), "status": version.status.value},
        )
    own = [alias for alias in version.aliases if alias != LATEST]
    if target is VersionStatus.ARCHIVED and own:
        raise FailedPrecondition(
            "VERSION_HAS_ALIAS",
            f"the alias {own[0]!r} points at version {version.version}; move or delete it first",
            metadata={"version": str(version.version), "alias": own[0]},
        )
    return MOVES[target]


def before_promotion(
    model_id: int, alias: str, newest_first: Iterable[tuple[EventType, Mapping[str, str]]]
) -> str:
    """Give the version that an alias named before the promotion that is in force.

    Each rollback takes back one promotion, so a second one goes further back, not forth.
    """
    taken_back = 0
    for kind, details in newest_first:
        if kind is EventType.ROLLED_BACK:
            taken_back += 1
        elif kind is EventType.ALIAS_DELETED:
            break
        elif taken_back:
            taken_back -= 1
        elif earlier := details.get("from"):
            return earlier
        else:
            break
    raise FailedPrecondition(
        "NO_EARLIER_VERSION",
        f"the alias {alias!r} pointed nowhere before; promote a version instead",
        metadata={"model_id": str(model_id), "alias": alias},
    )


def has_versions(model_id: int, ready: int) -> FailedPrecondition:
    """Build the error for a model that still has versions in service."""
    return FailedPrecondition(
        "MODEL_HAS_VERSIONS",
        f"model {model_id} has {ready} version(s) in service; archive them, or delete with force",
        metadata={"model_id": str(model_id), "versions": str(ready)},
    )


def has_jobs(model_id: int) -> FailedPrecondition:
    """Build the error for a model that is being trained."""
    return FailedPrecondition(
        "MODEL_HAS_JOBS",
        f"a job of model {model_id} is queued or running; cancel it or wait for its end",
        metadata={"model_id": str(model_id)},
    )
