"""The outbox as a queue: one claimer, a lease, longer and longer pauses."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from mlx_hub.registry.v1 import model_pb2

from services.registry.storage import MirrorStatus
from services.registry.store.models import ModelStore
from services.registry.store.outbox import PARK_AFTER, Delivery, Outbox
from services.registry.store.session import sessions
from tests.fixtures.publications import published
from tests.fixtures.registry import RunningRegistry

LEASE = timedelta(seconds=60)


@pytest.fixture
def outbox(hub: RunningRegistry) -> Outbox:
    rows = sessions(hub.registry.engine)
    return Outbox(rows, ModelStore(rows, mirrored=True))


async def test_entries_come_once_and_in_order(hub: RunningRegistry, outbox: Outbox) -> None:
    assert not await outbox.due()
    model = await hub.model()
    version = await published(hub, model.id, await hub.dataset())
    assert await outbox.due()
    claims = await asyncio.gather(*(outbox.claim(LEASE) for _ in range(4)))
    taken = sorted((claim for claim in claims if claim), key=lambda claim: claim.id)
    assert [claim.model.id for claim in taken] == [model.id, model.id]
    assert taken[0].version is None
    assert taken[1].version is not None
    assert taken[1].lineage is not None
    assert (taken[1].version.id, taken[1].lineage.model_name) == (version.id, "bot")
    assert not await outbox.due()


async def test_an_unconfirmed_claim_comes_back(hub: RunningRegistry, outbox: Outbox) -> None:
    await hub.model()
    first = await outbox.claim(timedelta(0))
    second = await outbox.claim(LEASE)
    assert first is not None
    assert second is not None
    assert (first.retried, second.retried) == (False, True)
    assert replace(first, retried=True) == second
    await outbox.confirm(second, "7")
    hub.sql("UPDATE registry.outbox SET next_attempt_at = now()")
    assert await outbox.claim(LEASE) is None
    assert hub.sql("SELECT mlflow_experiment_id FROM registry.models") == [("7",)]


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (2, 2), (4, 8), (5, 10), (100_000, 10)])
async def test_pauses_grow_to_a_bound(
    hub: RunningRegistry, outbox: Outbox, attempts: int, seconds: int
) -> None:
    await hub.model()
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    hub.sql("UPDATE registry.outbox SET attempts = %s", attempts)
    await outbox.postpone(delivery, "x" * 10_000)
    pause = "SELECT extract(epoch FROM next_attempt_at - now()), length(last_error)"
    [(left, length)] = hub.sql(f"{pause} FROM registry.outbox")
    assert seconds - 60 < float(str(left)) <= seconds
    assert length == 500


async def test_a_model_is_synced_when_its_last_entry_is(
    hub: RunningRegistry, outbox: Outbox
) -> None:
    model = await hub.model()
    assert model.mlflow_sync == model_pb2.MLFLOW_SYNC_DISABLED
    mirrored = ModelStore(sessions(hub.registry.engine), mirrored=True)
    assert (await mirrored.get(model.id)).mlflow_sync == "pending"
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    await outbox.confirm(delivery, "7")
    assert (await mirrored.get(model.id)).mlflow_sync == "synced"
    await published(hub, model.id, await hub.dataset())
    assert (await mirrored.get(model.id)).mlflow_sync == "pending"


async def test_it_tells_how_far_mlflow_is_behind_and_why(
    hub: RunningRegistry, outbox: Outbox
) -> None:
    rows = sessions(hub.registry.engine)
    assert await Outbox(rows, ModelStore(rows, mirrored=False)).status() == MirrorStatus(
        enabled=False
    )
    assert await outbox.status() == MirrorStatus(enabled=True)
    await hub.model()
    hub.sql("UPDATE registry.outbox SET waiting_since = now() - interval '1 hour'")
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    await outbox.postpone(delivery, "refused")
    status = await outbox.status()
    assert (status.pending, status.last_error) == (1, "refused")
    assert 3600 <= status.oldest_seconds < 7200
    assert status.failing_since is not None
    await outbox.confirm(delivery, "7")
    assert await outbox.status() == MirrorStatus(enabled=True)
    [tally] = await outbox.tallies()
    assert (tally.kind, tally.deliveries, tally.failures) == ("model", 1, 1)


async def test_what_a_dead_mirror_had_claimed_comes_back(
    hub: RunningRegistry, outbox: Outbox
) -> None:
    await hub.model()
    assert await outbox.claim(LEASE) is not None
    await outbox.release("it died")
    left = "SELECT extract(epoch FROM next_attempt_at - now()), last_error FROM registry.outbox"
    [(seconds, error)] = hub.sql(left)
    assert float(str(seconds)) <= 1
    assert error == "it died"


async def test_versions_of_a_model_come_in_order(hub: RunningRegistry, outbox: Outbox) -> None:
    model, dataset = await hub.model(), await hub.dataset()
    first = await published(hub, model.id, dataset, "a")
    second = await published(hub, model.id, dataset, "b")
    hub.sql("UPDATE registry.outbox SET delivered_at = now() WHERE version_id IS NULL")
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    assert delivery.version is not None
    assert delivery.version.id == first.id
    await outbox.postpone(delivery, "refused")
    assert await outbox.claim(LEASE) is None
    await outbox.confirm(delivery, "7")
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    assert delivery.version is not None
    assert delivery.version.id == second.id


async def refused(hub: RunningRegistry, outbox: Outbox) -> Delivery:
    """Let MLflow refuse what is due first, as for the last time before it is given up."""
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    hub.sql("UPDATE registry.outbox SET attempts = %s WHERE id = %s", PARK_AFTER, delivery.id)
    await outbox.postpone(delivery, "refused")
    return delivery


async def test_what_mlflow_never_takes_holds_back_no_later_version(
    hub: RunningRegistry, outbox: Outbox
) -> None:
    model, dataset = await hub.model(), await hub.dataset()
    await published(hub, model.id, dataset, "a")
    second = await published(hub, model.id, dataset, "b")
    hub.sql("DELETE FROM registry.outbox WHERE version_id IS NULL")
    bad = await refused(hub, outbox)
    assert (await outbox.status()).parked == 0, "nothing says that MLflow takes any"
    await hub.model("other")
    other = await outbox.claim(LEASE)
    assert other is not None
    assert other.model.id != model.id
    await outbox.confirm(other, "7")
    hub.sql("UPDATE registry.outbox SET next_attempt_at = now()")
    assert (await refused(hub, outbox)).id == bad.id
    status = await outbox.status()
    assert (status.pending, status.parked, status.last_error) == (1, 1, "refused")
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    assert delivery.version is not None
    assert delivery.version.id == second.id
    await outbox.confirm(delivery, "7")
    assert await outbox.claim(LEASE) is None, "it is tried again in an hour"
    hub.sql("UPDATE registry.outbox SET next_attempt_at = now()")
    again = await outbox.claim(LEASE)
    assert again is not None
    assert again.id == bad.id
    await outbox.confirm(again, "7")
    assert await outbox.status() == MirrorStatus(enabled=True)
