"""The gate before a promotion: what it lets through, what it refuses, and by how much."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import evaluation_pb2
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from sqlalchemy.ext.asyncio import AsyncSession

from services.chassis.errors import NotFound
from services.registry.store import quality
from tests.fixtures.gated import HIGHER, LOSSES, Gated
from tests.fixtures.registry import failure


async def test_the_dataset_of_a_gate_stays_as_long_as_the_gate(gated: Gated) -> None:
    dataset_id = await gated.hub.dataset("other")
    await gated.set_gate(dataset_id=dataset_id)
    deleting = datasets_pb.DeleteDatasetRequest(dataset_id=dataset_id)
    error = await failure(gated.hub.datasets.DeleteDataset(deleting))
    assert error.reason == "DATASET_IN_USE"
    assert "gate" in error.message
    await gated.delete_gate()
    await gated.hub.datasets.DeleteDataset(deleting)


async def test_a_dataset_that_is_deleted_meanwhile_is_named(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = quality._digest
    calls: tuple[Callable[..., Awaitable[object]], ...] = (
        gated.set_gate,
        lambda **fields: gated.measure(1, 0.5, **fields),
    )
    for name, call in zip("ab", calls, strict=True):
        dataset_id = await gated.hub.dataset(name)

        async def found_and_deleted(session: AsyncSession, gone: int) -> str:
            digest = await find(session, gone)
            gated.hub.sql("DELETE FROM registry.datasets WHERE id = %s", gone)
            return digest

        monkeypatch.setattr(quality, "_digest", found_and_deleted)
        error = await failure(call(dataset_id=dataset_id))
        assert error.reason == "DATASET_NOT_FOUND"
        assert error.metadata == {"dataset_id": str(dataset_id)}
        monkeypatch.setattr(quality, "_digest", find)


async def test_a_better_version_passes_and_history_says_why(gated: Gated) -> None:
    await gated.set_gate()
    await gated.promote(1)
    assert (await gated.newest_event())[1] == {
        "alias": "champion",
        "to": "1",
        "metric": "val_loss",
        "value": "0.5",
    }
    await gated.promote(2)
    assert (await gated.newest_event())[1] == {
        "alias": "champion",
        "from": "1",
        "to": "2",
        "metric": "val_loss",
        "value": "0.4",
        "reference": "1",
        "reference_value": "0.5",
        "tolerance": "0.1",
    }
    assert (await gated.promote(1)).version == 1, "worse by the tolerance and no more"


async def test_a_worse_version_is_refused_by_how_much(gated: Gated) -> None:
    await gated.set_gate()
    await gated.promote(2)
    error = await gated.refused(3)
    assert "is worse than version 2 by 0.35: val_loss on dataset 'data' (valid)" in error.message
    assert error.metadata == {
        "model_id": str(gated.model_id),
        "version": "3",
        "alias": "champion",
        "metric": "val_loss",
        "dataset_id": "1",
        "value": "0.75",
        "reference": "2",
        "reference_value": "0.4",
        "tolerance": "0.1",
        "worse_by": "0.35",
    }
    assert (await gated.promote(2)).aliases == ["champion"], "where it points nothing happens"
    await gated.set_gate(direction=HIGHER)
    assert (await gated.promote(3)).version == 3


async def test_an_evaluation_is_missing_until_it_is_recorded(gated: Gated) -> None:
    await gated.set_gate()
    error = await gated.refused(4)
    assert error.message == (
        "version 4 has no evaluation of val_loss on dataset 'data' (valid); record one"
    )
    other = await gated.hub.dataset("other", rows=3)
    await gated.measure(4, 0.1, metric="loss")
    await gated.measure(4, 0.1, split=evaluation_pb2.EVALUATION_SPLIT_ALL)
    await gated.measure(4, 0.1, dataset_id=other)
    await gated.refused(4)
    await gated.measure(4, 0.1)
    assert (await gated.promote(4)).version == 4


async def test_the_newest_evaluation_counts(gated: Gated) -> None:
    await gated.set_gate()
    await gated.promote(2)
    await gated.measure(3, 0.3)
    await gated.promote(3)
    await gated.measure(3, 0.2)
    assert (await gated.refused(2)).metadata["reference_value"] == "0.2"


async def test_the_version_an_alias_points_at_must_be_evaluated_too(gated: Gated) -> None:
    await gated.promote(4)
    await gated.set_gate()
    error = await gated.refused(1)
    assert "version 4, which 'champion' points at, has no evaluation" in error.message
    assert error.metadata["reference"] == "4"
    await gated.measure(4, 0.5)
    assert (await gated.promote(1)).version == 1


async def test_an_alias_that_points_nowhere_is_compared_with_the_base(gated: Gated) -> None:
    await gated.set_gate()
    await gated.measure("base", 0.6)
    error = await gated.refused(3)
    assert (error.metadata["reference"], error.metadata["worse_by"]) == ("base", "0.15")
    assert (await gated.promote(1)).version == 1


async def test_a_gate_guards_the_aliases_it_names(gated: Gated) -> None:
    await gated.set_gate(aliases=["champion", "stable", "champion"])
    assert (await gated.promote(4, "challenger")).version == 4
    for alias in ("champion", "stable"):
        await gated.refused(4, alias)
    for reserved in ("latest", "base", "7"):
        error = await failure(gated.set_gate(aliases=[reserved]))
        assert (error.reason, error.metadata["field"]) == ("INVALID_FIELD", "aliases")


async def test_a_rollback_is_the_way_out(gated: Gated) -> None:
    for version in (3, 2):
        await gated.promote(version)
    await gated.set_gate(tolerance=0)
    await gated.refused(3)
    request = versions_pb.RollbackAliasRequest(model_id=gated.model_id)
    assert (await gated.hub.stub.RollbackAlias(request)).version == 3


async def test_a_gate_is_set_read_and_removed_and_history_tells(gated: Gated) -> None:
    reading = pb.GetPromotionGateRequest(model_id=gated.model_id)
    for call in (gated.quality.GetPromotionGate(reading), gated.delete_gate()):
        error = await failure(call)
        assert isinstance(error, NotFound)
        assert (error.reason, error.metadata) == (
            "GATE_NOT_FOUND",
            {"model_id": str(gated.model_id)},
        )
    made = await gated.set_gate(aliases=["champion"])
    assert await gated.quality.GetPromotionGate(reading) == made
    kind, details = await gated.newest_event()
    assert details == {
        "metric": "val_loss",
        "direction": "lower",
        "tolerance": "0.1",
        "dataset_id": "1",
        "split": "valid",
        "aliases": "champion",
    }
    assert await gated.set_gate(aliases=["champion"]) == made, "no change"
    [(count,)] = gated.hub.sql("SELECT count(*) FROM registry.model_events WHERE type ~ 'gate'")
    assert count == 1
    changed = await gated.set_gate(tolerance=0)
    assert (changed.tolerance, list(changed.aliases)) == (0, [])
    assert changed.updated_at.ToNanoseconds() > made.updated_at.ToNanoseconds()
    await gated.delete_gate()
    assert (await gated.newest_event())[0] == kind + 1
    assert (await gated.promote(4)).version == 4, "without a gate anything goes"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tolerance", -0.1),
        ("tolerance", float("nan")),
        ("tolerance", float("inf")),
        ("direction", 0),
        ("split", 0),
        ("dataset_id", 0),
        ("metric", ""),
    ],
)
async def test_half_a_gate_is_refused(gated: Gated, field: str, value: object) -> None:
    error = await failure(gated.set_gate(**{field: value}))
    assert (error.reason, error.metadata["field"]) == ("INVALID_FIELD", field)


async def test_a_gate_needs_a_dataset_and_a_model(gated: Gated) -> None:
    assert (await failure(gated.set_gate(dataset_id=9))).reason == "DATASET_NOT_FOUND"
    assert (await failure(gated.set_gate(model_id=9))).reason == "MODEL_NOT_FOUND"


async def test_a_promotion_has_seen_all_that_history_shows_before_it(gated: Gated) -> None:
    await gated.set_gate(tolerance=5)
    await gated.promote(2)
    await asyncio.gather(
        *(gated.promote(n % 2 + 2) for n in range(16)),
        *(gated.measure(n % 2 + 2, n / 8) for n in range(16)),
        *(gated.set_gate(tolerance=5 + n) for n in range(4)),
    )
    value = dict(LOSSES)
    tolerance, moves = "", 0
    events = gated.hub.sql("SELECT type, version, details FROM registry.model_events ORDER BY id")
    for kind, number, stored in events:
        details: Any = stored
        if kind == "gate_set":
            tolerance = details["tolerance"]
        elif kind == "evaluated":
            value[int(str(number))] = float(details["value"])
        elif kind == "promoted" and "from" in details:
            moves += 1
            seen = (float(details["value"]), float(details["reference_value"]))
            assert seen == (value[int(details["to"])], value[int(details["from"])])
            assert details["tolerance"] == tolerance
    assert moves


async def test_deleting_an_alias_is_no_way_around_the_gate(gated: Gated) -> None:
    """History tells where it pointed; what pointed there is what must not become worse."""
    await gated.set_gate()
    await gated.measure("base", 0.9)
    await gated.promote(2)
    await gated.delete_alias("champion")
    error = await gated.refused(3)
    assert (error.metadata["reference"], error.metadata["worse_by"]) == ("2", "0.35")
    await gated.promote(1)
    assert (await gated.newest_event())[1]["reference"] == "2"
    await gated.delete_alias("champion")
    await gated.promote(2)
    await gated.delete_alias("champion")
    assert (await gated.refused(3)).metadata["reference"] == "2", "the newest deletion counts"
    await gated.measure("base", 0.8)
    await gated.promote(3, "challenger")
    assert (await gated.newest_event())[1]["reference"] == "base", "another alias had no version"


async def test_the_version_a_deleted_alias_pointed_at_must_be_evaluated_too(gated: Gated) -> None:
    await gated.promote(4)
    await gated.delete_alias("champion")
    await gated.set_gate()
    error = await gated.refused(1)
    assert "version 4, which 'champion' pointed at before it was deleted" in error.message
