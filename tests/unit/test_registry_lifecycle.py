"""How models and versions may change, without any server."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from services.chassis.errors import FailedPrecondition, Invalid
from services.registry.domain import TRANSITIONS, EventType, VersionStatus
from services.registry.lifecycle import before_promotion, model_change, move, own_alias
from tests.unit.test_registry_domain import MODEL, VERSION

PROMOTED, ROLLED_BACK, DELETED = (
    EventType.PROMOTED,
    EventType.ROLLED_BACK,
    EventType.ALIAS_DELETED,
)
type Moves = list[tuple[EventType, Mapping[str, str]]]


def promoted(*chain: str) -> Moves:
    """Promote one version after the other, newest first."""
    pairs = zip(("", *chain), chain, strict=False)
    moves: Moves = [(PROMOTED, {"from": old, "to": new}) for old, new in pairs]
    return moves[::-1]


@pytest.mark.parametrize(
    ("newest_first", "earlier"),
    [
        (promoted("1", "2"), "1"),
        (promoted("1", "2", "3"), "2"),
        ([(ROLLED_BACK, {}), *promoted("1", "2", "3")], "1"),
        ([*promoted("1", "2"), (DELETED, {}), *promoted("5", "6")], "1"),
        ([(PROMOTED, {"from": "1"}), (ROLLED_BACK, {}), *promoted("1", "2")], "1"),
        ([(ROLLED_BACK, {}), (PROMOTED, {"from": "1"}), (ROLLED_BACK, {}), *promoted("1")], None),
        ([(ROLLED_BACK, {}), (ROLLED_BACK, {}), *promoted("1", "2", "3")], None),
        ([*promoted("1"), (DELETED, {}), *promoted("5", "6")], None),
        ([(ROLLED_BACK, {}), *promoted("1", "2"), (DELETED, {}), *promoted("5", "6")], None),
        (promoted("1"), None),
        ([], None),
    ],
)
def test_a_rollback_takes_back_the_promotion_in_force(
    newest_first: Moves, earlier: str | None
) -> None:
    if earlier is not None:
        assert before_promotion(1, "champion", newest_first) == earlier
        return
    with pytest.raises(FailedPrecondition, match="pointed nowhere before") as caught:
        before_promotion(1, "champion", newest_first)
    assert caught.value.reason == "NO_EARLIER_VERSION"


def test_an_alias_is_the_champion_unless_it_is_said() -> None:
    assert (own_alias(""), own_alias("v1.2-beta"), own_alias("latest-1")) == (
        "champion",
        "v1.2-beta",
        "latest-1",
    )
    for reserved in ("latest", "base", "3", "007"):
        with pytest.raises(Invalid, match="reserved"):
            own_alias(reserved)


@pytest.mark.parametrize("status", VersionStatus)
def test_only_what_is_ready_or_archived_moves(status: VersionStatus) -> None:
    version = replace(VERSION, status=status)
    for target, kind in (
        (VersionStatus.ARCHIVED, EventType.ARCHIVED),
        (VersionStatus.READY, EventType.RESTORED),
    ):
        if status is target:
            assert move(version, target) is None
        elif status in (VersionStatus.READY, VersionStatus.ARCHIVED):
            assert target in TRANSITIONS[status]
            assert move(version, target) is kind
        else:
            with pytest.raises(FailedPrecondition, match=status):
                move(version, target)


def test_only_an_alias_of_the_callers_own_keeps_a_version_in_service() -> None:
    named = replace(VERSION, aliases=("challenger", "latest"))
    with pytest.raises(FailedPrecondition, match="challenger"):
        move(named, VersionStatus.ARCHIVED)
    latest = replace(VERSION, aliases=("latest",))
    assert move(latest, VersionStatus.ARCHIVED) is EventType.ARCHIVED


def test_only_what_becomes_another_is_a_change() -> None:
    model = replace(MODEL, description="d", tags={"a": "b"})
    change = model_change(1, ["description", "tags"], {"description": "d", "tags": {"a": "c"}})
    assert change.changed(model) == {"tags": {"a": "c"}}
    assert model_change(1, None, {"description": "d"}).changed(model) == {}
